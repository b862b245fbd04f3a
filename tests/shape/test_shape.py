"""The architecture itself: budgets, the same shape in every service, and nothing committed that must not be."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST_FILE = 500
MAIN_LINES = 80
LARGEST_BYTES = 10_000_000


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def generated(path: Path) -> bool:
    return "_pb2" in path.name or "static" in path.parts or "models" in path.parts


SERVICES = sorted(p.parent for p in (ROOT / "services").glob("*/__init__.py"))


def test_no_source_file_is_longer_than_500_lines():
    sources = [p for p in tracked("*.py", "*.ts", "*.lua", "*.css") if not generated(p)]

    too_long = {str(p.relative_to(ROOT)): n for p in sources if (n := len(p.read_text().splitlines())) > LONGEST_FILE}

    assert not too_long


@pytest.mark.parametrize("service", SERVICES, ids=lambda p: p.name)
def test_every_service_has_the_same_shape(service):
    names = {p.name for p in service.iterdir()}
    main = (service / "main.py").read_text().splitlines()
    docstring = (service / "__init__.py").read_text()

    assert {"__init__.py", "__main__.py", "main.py", "settings.py"} <= names
    assert len(main) <= MAIN_LINES
    for word in ("Comes in", "Goes out", "Promises", "Owns"):
        assert word in docstring


def test_every_service_stands_in_the_import_contracts():
    contracts = (ROOT / "pyproject.toml").read_text()

    missing = [s.name for s in SERVICES if f'"services.{s.name}"' not in contracts]

    assert not missing


def test_nothing_large_is_committed():
    large = [str(p.relative_to(ROOT)) for p in tracked() if p.stat().st_size > LARGEST_BYTES]

    assert not large


def test_no_machine_path_and_no_registry_host_is_committed():
    # Spelled in parts, so that this file does not find itself.
    parts = [("/ro", "ot/"), ("/work", "/main"), ("pypi", r"\.org"), (r"registry\.", "npmjs"), (r"files\.python", "hosted")]
    forbidden = re.compile("|".join("".join(pair) for pair in parts))
    texts = [p for p in tracked() if p.suffix not in {".png", ".npz", ".ts_", ".woff2"} and not p.name.endswith("model.ts")]

    found = [str(p.relative_to(ROOT)) for p in texts if forbidden.search(p.read_text(errors="ignore"))]

    assert not found


def test_the_stubs_come_from_the_proto_files(tmp_path):
    protos = [str(p.relative_to(ROOT)) for p in tracked("protos/*.proto")]
    tool = [str(ROOT / ".venv/bin/python") if (ROOT / ".venv").exists() else "python", "-m", "grpc_tools.protoc", "-I."]

    subprocess.run([*tool, f"--python_out={tmp_path}", f"--grpc_python_out={tmp_path}", *protos], cwd=ROOT, check=True)

    for made in tmp_path.rglob("*_pb2*.py"):
        assert made.read_bytes() == (ROOT / made.relative_to(tmp_path)).read_bytes(), made.name
    assert list(tmp_path.rglob("*_pb2.py"))
