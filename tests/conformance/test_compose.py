"""The compose file and its images: by the Compose Specification, and by our own rules for what runs in a hospital."""

import importlib
import json
import re
import runpy
import socket
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from backbone.settings import ProcessSettings
from backbone.supervisor.settings import SupervisorSettings
from services.web.settings import WebSettings

pytestmark = pytest.mark.conformance
ROOT = Path(__file__).parents[2]
CONTAINERS = ROOT / "deploy" / "containers"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
# The processes of the table of `backbone.supervisor`, and where each one's settings are.
SETTINGS = {
    "hl7_listener": "services.hl7_listener.settings.ListenerSettings",
    "depth_scorer": "services.depth_scorer.settings.ScorerSettings",
    "model_server": "model_server.settings.ModelServerSettings",
    "ledger": "services.ledger.settings.LedgerSettings",
    "ehr_writer": "services.ehr_writer.settings.EhrSettings",
    "ehr_worker": "services.ehr_writer.settings.EhrSettings",
    "web": "services.web.settings.WebSettings",
    "device_simulator": "services.device_simulator.settings.SimulatorSettings",
}
SERVERS = ("redis", "postgres")  # other people's images
ONE_SHOTS = ("keys", "ehr_seed", "tools")
ENDLESS = sorted(set(SERVICES) - set(ONE_SHOTS))
LOOPBACK = re.compile(r"127\.0\.0\.1:\$\{[A-Z]+_PORT:-\d+\}:\d+")
PINNED = re.compile(r"[a-z0-9./_-]+:\d+\.\d+\.?\d*-[a-z-]+")
STAGE = re.compile(r"^FROM (?P<parent>\S+) AS (?P<name>\w+)$", re.MULTILINE)


def stages() -> dict[str, tuple[str, str]]:
    """Return each stage of the Dockerfile with its parent and its lines."""
    text = (CONTAINERS / "Dockerfile").read_text(encoding="utf-8")
    found = list(STAGE.finditer(text))
    ends = [one.start() for one in found[1:]] + [len(text)]
    return {one["name"]: (one["parent"], text[one.end() : end]) for one, end in zip(found, ends, strict=True)}


STAGES = stages()


def user_of(stage: str) -> str:
    parent, lines = STAGES[stage]
    named = re.findall(r"^USER (\S+)$", lines, re.MULTILINE)
    if named:
        return named[-1]
    return user_of(parent) if parent in STAGES else "root"


def settings_of(path: str) -> dict[str, bool]:
    """Return each variable that a process reads, and whether it must be given."""
    module, name = path.rsplit(".", 1)
    kind: type[ProcessSettings] = getattr(importlib.import_module(module), name)
    prefix = kind.model_config.get("env_prefix", "")

    def variable(name: str, alias: object) -> str:
        return f"{prefix}{name}".upper() if alias is None else str(getattr(alias, "choices", [alias])[0])

    return {variable(name, field.validation_alias): field.is_required() for name, field in kind.model_fields.items()}


def written(name: str) -> str:
    """Return a service as text, for what must not stand anywhere in it."""
    return json.dumps(SERVICES[name])


def test_the_compose_file_is_one_by_the_compose_specification():
    schema = json.loads((files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json").read_text(encoding="utf-8"))

    jsonschema.validate(COMPOSE, schema)


def test_every_process_has_a_service_and_a_target_of_its_own():
    folders = {path.parent.name for path in (ROOT / "services").glob("*/main.py")} | {"model_server"}

    assert folders | {"ehr_worker"} == set(SETTINGS)
    for name in SETTINGS:
        assert SERVICES[name]["build"]["target"] == name
        assert name in STAGES


@pytest.mark.parametrize("name", ENDLESS)
def test_a_service_tells_its_health_and_comes_back(name):
    assert SERVICES[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_no_privileges_and_writes_only_where_it_is_told(name):
    service = SERVICES[name]
    user = service["user"] if name in SERVERS else user_of(service["build"]["target"])

    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert not {"privileged", "cap_add", "pid", "ipc", "userns_mode", "devices"} & set(service)
    assert "docker.sock" not in written(name)


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_stands_in_an_environment_or_an_argument(name):
    service = SERVICES[name]
    given = {**service.get("environment", {}), **service.get("build", {}).get("args", {})}
    secret = re.compile(r"PASSWORD|TOKEN|SECRET|_KEY$")

    assert [key for key in given if secret.search(key) and not key.endswith("_FILE")] == []
    assert re.search(r"://[^/@\s\"]*:[^/@\s\"]+@", written(name)) is None


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name):
    assert all(LOOPBACK.fullmatch(port) for port in SERVICES[name].get("ports", []))
    assert SERVICES[name].get("network_mode", "none") in {"none", "service:ehr"}


def test_nothing_but_devices_and_the_page_is_published_and_data_stays_inside():
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"hl7_listener", "web"}
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert all(SERVICES[name]["networks"] == ["inside"] for name in (*SERVERS, "model_server", "depth_scorer", "ledger", "ehr"))
    assert SERVICES["device_simulator"]["networks"] == ["edge"]


@pytest.mark.parametrize("name", SETTINGS)
def test_a_process_is_given_the_settings_that_it_must_have_and_none_that_it_has_not(name):
    given = {key for key in SERVICES[name].get("environment", {}) if key.startswith("SOPOR_")}
    known = settings_of(SETTINGS[name])

    assert given <= set(known)
    assert {variable for variable, required in known.items() if required} <= given


def test_the_tools_are_given_only_settings_that_exist():
    assert set(SERVICES["tools"]["environment"]) <= {str(field.validation_alias) for field in SupervisorSettings.model_fields.values()}


def test_what_the_file_takes_from_outside_has_other_names_than_what_it_gives_inside():
    taken = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text(encoding="utf-8")))
    given = {key for service in SERVICES.values() for key in service.get("environment", {})}

    assert taken & given == set()  # podman-compose would put in what is given inside


@pytest.mark.parametrize("image", [*(SERVICES[name]["image"] for name in SERVERS), SERVICES["web"]["build"]["args"]["BASE"]])
def test_images_of_others_are_pinned(image):
    default = re.fullmatch(r"\$\{[A-Z]+_IMAGE:-(.+)\}", image)

    assert default is not None
    assert PINNED.fullmatch(default[1])


def test_the_dockerfile_pins_the_same_base():
    named = re.search(r"^ARG BASE=(\S+)$", (CONTAINERS / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)

    assert named is not None
    assert f"${{BASE_IMAGE:-{named[1]}}}" == SERVICES["web"]["build"]["args"]["BASE"]


def test_redis_evicts_nothing_and_keeps_a_file():
    command = SERVICES["redis"]["command"]
    settings = dict(zip(command[1::2], command[2::2], strict=True))

    assert settings["--appendonly"] == "yes"
    assert settings["--maxmemory-policy"] == "noeviction"


def test_without_profiles_it_runs_for_real_devices():
    assert [name for name, service in SERVICES.items() if "profiles" not in service] == [
        "keys", "redis", "postgres", "hl7_listener", "model_server", "depth_scorer", "ledger", "web",
    ]  # fmt: skip


def test_an_image_holds_no_other_process():
    for name in sorted(set(SETTINGS) - {"model_server", "ehr_worker"}):
        copied = re.findall(r"^COPY --from=code /app/(\S+)", STAGES[name][1], re.MULTILINE)
        assert copied == [f"services/{name}"]


def test_the_build_sees_no_history_no_tests_and_no_state():
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()

    let_in = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    assert all((ROOT / path).exists() for path in let_in)
    assert not {path for path in let_in if path.split("/")[0] in {".git", "tests", "training", "docs", ".venv", "shared"}}


def test_each_list_of_packages_is_that_of_the_extra(tmp_path):
    subprocess.run([sys.executable, CONTAINERS / "requirements.py", ROOT / "pyproject.toml", tmp_path], check=True)
    wanted = {one for lines in (text for _, text in STAGES.values()) for one in re.findall(r"add-packages (\S+)", lines)}

    assert wanted == {path.stem for path in tmp_path.glob("*.txt")}
    assert "torch==2.13.0" in (tmp_path / "model-server.txt").read_text(encoding="utf-8")
    assert all("torch" not in path.read_text(encoding="utf-8") for path in tmp_path.glob("*.txt") if path.stem != "model-server")


def test_the_password_is_made_once_and_our_half_is_ours_alone(tmp_path):
    make_password = runpy.run_path(str(CONTAINERS / "prepare.py"))["make_password"]

    make_password(tmp_path)
    ours, server = (tmp_path / "pgpass").read_text(encoding="ascii"), (tmp_path / "password").read_text(encoding="ascii")
    make_password(tmp_path)

    assert ours == f"*:*:*:sopor:{server}\n"
    assert (tmp_path / "password").read_text(encoding="ascii") == server
    assert (tmp_path / "pgpass").stat().st_mode & 0o777 == 0o600  # libpq passes over one that others may read


@pytest.fixture
def health():
    return runpy.run_path(str(CONTAINERS / "health.py"))


def test_a_process_that_lost_its_server_is_not_healthy(health):
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    connection = socket.create_connection(("127.0.0.1", port))
    own = Path("/proc/self")

    states = set(health["sockets"](own))
    connection.close()
    server.close()
    after = set(health["sockets"](own))

    assert ("0A", port, 0) in states
    assert ("01", port) in {(state, to) for state, _, to in states}
    assert port not in {to for _, _, to in after}


def test_what_does_not_answer_is_unwell_and_says_why(health, capsys, unused_tcp_port):
    assert health["main"]("http", f"http://127.0.0.1:{unused_tcp_port}/readyz") == 1
    assert "refused" in capsys.readouterr().err


def test_the_wall_leaves_loopback_only_where_its_port_is_published_there():
    given = {"site": "sopor.toml", "redis_url": "redis://redis", "database_url": "postgresql://postgres", "host": "0.0.0.0"}

    with pytest.raises(ValidationError, match="no login yet"):
        WebSettings(**given)
    assert WebSettings(**given, published_on_loopback=True).host == "0.0.0.0"
