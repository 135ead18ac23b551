"""The image's recipe and the compose file, read as a linter reads them: no container is needed.

Pinned tags, no root, read-only roots, ports on loopback, a health check each, and nothing mounted
that is not there.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from tickd.app.config import load_config

ROOT = Path(__file__).parents[1]
OCI = ROOT / "deploy" / "oci"
COMPOSE: dict[str, Any] = yaml.safe_load((OCI / "compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PINNED = re.compile(r"^[a-z0-9.-]+(?:/[a-z0-9._-]+)+:v?\d+\.\d+\.\d+[A-Za-z0-9._-]*$")
services = pytest.mark.parametrize("name", sorted(SERVICES))


def instructions() -> list[tuple[str, str]]:
    """The recipe's instructions, continued lines joined."""
    text = (OCI / "Containerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def last_stage() -> list[tuple[str, str]]:
    all_of_them = instructions()
    begin = max(at for at, (word, _) in enumerate(all_of_them) if word == "FROM")
    return all_of_them[begin:]


def test_every_base_image_is_pinned_and_comes_from_a_named_registry() -> None:
    images = [rest.split()[0] for word, rest in instructions() if word == "FROM"]
    assert images
    for image in images:
        assert PINNED.match(image), image


def test_the_image_runs_as_nobody_special() -> None:
    users = [rest for word, rest in last_stage() if word == "USER"]
    assert users, "no USER in the last stage"
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", users[-1]), (
        "a number, so that an orchestrator sees it"
    )
    after = [word for word, _ in last_stage()]
    assert "RUN" not in after[after.index("USER") :]


def test_the_image_checks_its_health_and_ends_by_its_own_signal() -> None:
    words = dict(last_stage())
    assert words["STOPSIGNAL"] == "SIGTERM"
    assert 'CMD ["tickd", "status"' in words["HEALTHCHECK"]
    for word in ("ENTRYPOINT", "CMD"):
        assert words[word].startswith("["), f"{word} in exec form: signals reach the daemon itself"


def test_commands_of_the_recipe_are_reproducible() -> None:
    for word, rest in instructions():
        assert word != "ADD", "COPY says what it does"
        if word == "RUN" and "apt-get install" in rest:
            assert "--no-install-recommends" in rest
            assert "rm -rf /var/lib/apt/lists/*" in rest
        if word == "RUN" and "pip install" in rest:
            for command in rest.split("&&"):
                if "pip install" in command:
                    pinned = any(
                        sign in command for sign in ("--require-hashes", "--no-deps", "==")
                    )
                    assert pinned, command
                    assert "--no-cache-dir" in command


def test_what_the_recipe_copies_is_there() -> None:
    for word, rest in instructions():
        words = shlex.split(rest)
        if word == "COPY" and not words[0].startswith("--"):
            for source in words[:-1]:
                assert (ROOT / source).exists(), source
    ignored = (ROOT / ".containerignore").read_text().splitlines()
    for path in (".git", ".venv", "native/target", "dist"):
        assert path in ignored


@services
def test_a_service_is_pinned(name: str) -> None:
    image = SERVICES[name]["image"]
    assert name == "tickd" or PINNED.match(image), image


@services
def test_a_service_is_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"[1-9]\d*:\d+", service["user"])
    assert service["restart"] == "unless-stopped"
    assert "privileged" not in service
    assert service.get("network_mode") != "host"
    assert service["logging"]["options"]["max-size"]


@services
def test_a_service_has_a_health_check(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "retries"} <= set(check)


@services
def test_ports_are_published_on_loopback_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), port


@services
def test_what_is_mounted_is_there(name: str) -> None:
    for mount in SERVICES[name].get("volumes", []):
        source, target, *mode = mount.split(":")
        assert target.startswith("/")
        if source.startswith("."):
            assert (OCI / source).exists(), source
            assert mode == ["ro"], f"{mount} may be written"
        else:
            assert source in COMPOSE["volumes"], source
    for secret in SERVICES[name].get("secrets", []):
        assert secret in COMPOSE["secrets"]


@services
def test_no_secret_is_written_down(name: str) -> None:
    for key, value in SERVICES[name].get("environment", {}).items():
        if re.search(r"PASSWORD|TOKEN|SECRET", key):
            assert re.match(r"^(\$\{\w+:\?|/run/secrets/)", value), key


def test_grafana_and_prometheus_ask_the_services_by_name() -> None:
    (prometheus, clickhouse) = yaml.safe_load((OCI / "datasources.yml").read_text())["datasources"]
    own = yaml.safe_load((ROOT / "dashboards/provisioning/datasources/tickd.yml").read_text())
    assert [each["uid"] for each in own["datasources"]] == [prometheus["uid"], clickhouse["uid"]]
    assert prometheus["url"] == "http://prometheus:9090"
    aliases = SERVICES["alertmanager"]["networks"]["default"]["aliases"]
    assert SERVICES["prometheus"]["network_mode"] == "service:alertmanager"
    assert aliases == ["prometheus"]
    assert clickhouse["jsonData"]["host"] in SERVICES
    ((target,),) = (each["targets"] for each in yaml.safe_load((OCI / "targets.yml").read_text()))
    assert target == "tickd:9464"


def test_clickhouse_lets_in_whom_the_others_are() -> None:
    users = ET.parse(OCI / "clickhouse-users.xml").getroot().find("users")
    assert users is not None
    assert {each.tag for each in users} == {"default", "tickd", "grafana"}
    assert users.findtext("grafana/profile") == "grafana"
    (grant,) = users.iterfind("grafana/grants/query")
    assert grant.text == "GRANT SELECT, dictGet ON tickd.*"
    for name in ("tickd", "grafana"):
        variable = users.find(f"{name}/password_sha256_hex").attrib["from_env"]
        assert variable in SERVICES["clickhouse"]["environment"]
    assert {each.text for each in users.iterfind("default/networks/ip")} == {"127.0.0.1", "::1"}


def test_grafanas_profile_reads_only_and_may_set_the_one_thing_that_its_plugin_sets() -> None:
    """max_execution_time comes with every question; a locked one refuses all of them."""
    profile = ET.parse(OCI / "clickhouse-users.xml").getroot().find("profiles/grafana")
    assert profile is not None
    assert profile.findtext("readonly") == "1"
    constraints = profile.find("constraints")
    assert constraints is not None
    assert [each.tag for each in constraints] == ["max_execution_time"]
    (bounds,) = constraints
    assert bounds.find("changeable_in_readonly") is not None
    # 0 would be for ever.
    least, most = int(bounds.findtext("min") or 0), int(bounds.findtext("max") or 0)
    assert 1 <= least <= int(profile.findtext("max_execution_time") or 0) <= most <= 600
    # A server without this switch refuses the whole file.
    server = ET.parse(OCI / "clickhouse-server.xml").getroot()
    switch = "access_control_improvements/settings_constraints_replace_previous"
    assert server.findtext(switch) == "true"
    mounts = [mount.split(":")[:2] for mount in SERVICES["clickhouse"]["volumes"]]
    assert ["./clickhouse-server.xml", "/etc/clickhouse-server/config.d/tickd.xml"] in mounts
    assert ["./clickhouse-users.xml", "/etc/clickhouse-server/users.d/tickd.xml"] in mounts


def test_the_daemons_configuration_is_one(tmp_path: Path) -> None:
    text = (OCI / "tickd.toml").read_text()
    (secret,) = re.findall(r'file = "(.*?)"', text)
    assert secret.removeprefix("/run/secrets/") in SERVICES["tickd"]["secrets"]
    password = tmp_path / "password"
    password.write_text("long enough")
    password.chmod(0o600)
    file = tmp_path / "tickd.toml"
    file.write_text(text.replace(secret, str(password)))
    config = load_config(file)
    assert config.http.port == 9464
    assert config.clickhouse.user == "tickd"
