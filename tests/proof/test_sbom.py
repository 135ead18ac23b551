"""The bill of materials: complete by the locks, the same twice, silent about its sources."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.proof

REPOSITORY = Path(__file__).resolve().parents[2]
LOCK = REPOSITORY / "requirements" / "runtime.txt"


def made(out: Path) -> str:
    if shutil.which("cargo") is None:
        pytest.skip("cargo is not installed")
    subprocess.run(
        [
            sys.executable,
            REPOSITORY / "scripts" / "sbom.py",
            LOCK,
            REPOSITORY / "native" / "Cargo.toml",
            out,
        ],
        check=True,
        timeout=120,
    )
    return out.read_text()


def test_the_bill_is_whole_repeatable_and_names_no_host(tmp_path: Path) -> None:
    text = made(tmp_path / "one.json")
    assert made(tmp_path / "two" / "two.json") == text
    assert "://" not in text
    bill: dict[str, Any] = json.loads(text)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", bill["serialNumber"])
    urls = [each["purl"] for each in bill["components"]]
    assert urls == sorted(set(urls))
    locked = set(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;]+)", LOCK.read_text(), re.MULTILINE))
    shown = {(e["name"], e["version"]) for e in bill["components"] if "pkg:pypi/" in e["purl"]}
    assert shown == locked
    crates = [each for each in bill["components"] if each["purl"].startswith("pkg:cargo/")]
    assert {"pyo3", "zstd"} <= {each["name"] for each in crates}
    assert "criterion" not in {each["name"] for each in crates}
    for crate in crates:
        assert re.fullmatch(r"[0-9a-f]{64}", crate["hashes"][0]["content"])
        assert crate["licenses"], crate["name"]
    assert bill["dependencies"][0]["dependsOn"] == urls
