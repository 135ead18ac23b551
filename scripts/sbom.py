"""Writes a software bill of materials (CycloneDX 1.6) of tickd: Python libraries, crates.

`sbom.py LOCK MANIFEST OUT`, as `make deb` calls it. Versions are those of the locks,
licences those that the installed libraries and the crates' manifests state. The same commit gives
the same bytes: no clock, no random number, no host of a registry. It judges no vulnerability.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import uuid
from importlib import metadata
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

LOCKED: Final = re.compile(r"^([A-Za-z0-9_.-]+)==([^\s;]+)(?:\s*;\s*(.*?))?\s*\\?$", re.MULTILINE)
NAMESPACE: Final = uuid.UUID(
    "8f6c3d5e-2f0a-5b7e-9a41-0d6d7a2f9c11"
)  # of this document; any will do

Component = dict[str, Any]


def python_components(lock: Path) -> list[Component]:
    """Every locked library, with the licence of the installed one."""
    found = []
    for name, version, marker in LOCKED.findall(lock.read_text()):
        component = _component("pypi", name, version)
        if marker:
            component["properties"] = [{"name": "tickd:marker", "value": marker}]
        if licence := _licence(name):
            component["licenses"] = [licence]
        found.append(component)
    return found


def _licence(name: str) -> dict[str, Any] | None:
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return None
    if expression := about.get("License-Expression"):
        return {"expression": expression}
    text = about.get("License") or ""
    if not text or "\n" in text or len(text) > 80:  # the whole text, not its name
        classifiers = about.get_all("Classifier") or []
        names = [each.rsplit(" :: ", 1)[-1] for each in classifiers if each.startswith("License")]
        text = " and ".join(sorted(names))
    return {"license": {"name": text}} if text else None


def cargo_components(manifest: Path) -> list[Component]:
    """Every crate of the wheel: what its dependencies reach, build and test crates left out."""
    told = subprocess.run(
        ["cargo", "metadata", "--locked", "--format-version", "1", "--manifest-path", manifest],
        check=True,
        capture_output=True,
    )
    graph = json.loads(told.stdout)
    crates = {each["id"]: each for each in graph["packages"]}
    links = {each["id"]: each["deps"] for each in graph["resolve"]["nodes"]}
    reached: set[str] = set()
    waiting = [each["id"] for each in crates.values() if each["name"] == "tickd-py"]
    while waiting:
        at = waiting.pop()
        if at in reached:
            continue
        reached.add(at)
        waiting += [
            link["pkg"]
            for link in links[at]
            if any(kind["kind"] is None for kind in link["dep_kinds"])
        ]
    checksums = {
        (each["name"], each["version"]): each["checksum"]
        for each in tomllib.loads((manifest.parent / "Cargo.lock").read_text())["package"]
        if "checksum" in each
    }
    found = []
    for crate in (crates[each] for each in reached):
        if crate["source"] is None:
            continue  # ours
        component = _component("cargo", crate["name"], crate["version"])
        component["hashes"] = [
            {"alg": "SHA-256", "content": checksums[crate["name"], crate["version"]]}
        ]
        if crate["license"]:
            component["licenses"] = [{"expression": crate["license"].replace("/", " OR ")}]
        found.append(component)
    return found


def _component(kind: str, name: str, version: str) -> Component:
    url = f"pkg:{kind}/{quote(name)}@{quote(version)}"
    return {"type": "library", "bom-ref": url, "name": name, "version": version, "purl": url}


def document(lock: Path, manifest: Path, version: str) -> dict[str, Any]:
    """The whole bill, components in the order of their names."""
    parts = python_components(lock) + cargo_components(manifest)
    parts.sort(key=lambda each: each["bom-ref"])
    own = _component("pypi", "tickd", version) | {
        "type": "application",
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
    serial = uuid.uuid5(NAMESPACE, json.dumps(parts, sort_keys=True) + version)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {"component": own},
        "components": parts,
        "dependencies": [
            {"ref": own["bom-ref"], "dependsOn": [each["bom-ref"] for each in parts]},
            *({"ref": each["bom-ref"]} for each in parts),
        ],
    }


def main(lock: Path, manifest: Path, out: Path) -> None:
    """Write the bill to `out`."""
    project = tomllib.loads((lock.parents[1] / "pyproject.toml").read_text())["project"]
    bill = document(lock, manifest, project["version"])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(bill, indent=1, ensure_ascii=False) + "\n")
    sys.stdout.write(f"{out}: {len(bill['components'])} components\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
