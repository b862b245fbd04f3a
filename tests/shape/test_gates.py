"""The gates themselves: each is shown one planted violation and must turn red."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = ["anesthesia", "protos", "backbone", "services", "model_server", "training", "cli"]


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *command], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """A copy of the code whose files a test may spoil."""
    folder = tmp_path_factory.mktemp("copy")
    ignore = shutil.ignore_patterns("node_modules", "__pycache__", "models")
    for name in CODE:
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def lint_imports(cwd: Path) -> subprocess.CompletedProcess[str]:
    program = "import sys; sys.path.insert(0, ''); from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run([sys.executable, "-c", program, "--no-cache"], cwd=cwd, capture_output=True, text=True, check=False)


def test_the_import_contracts_are_kept(copy):
    done = lint_imports(copy)

    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("anesthesia/signal.py", "import asyncio", "no server, no clock"),
        ("services/ledger/__init__.py", "import services.web", "never by import"),
        ("backbone/wire.py", "import torch", "torch"),
    ],
)
def test_a_forbidden_import_is_caught(copy, file, line, contract):
    path = copy / file
    before = path.read_text()
    path.write_text(f"{before}\n{line}\n")

    done = lint_imports(copy)

    path.write_text(before)
    assert done.returncode != 0
    assert contract in done.stdout


def test_a_socket_in_a_unit_test_is_caught(tmp_path):
    unit = tmp_path / "tests" / "unit"
    unit.mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "unit" / "conftest.py", unit)
    (unit / "test_planted.py").write_text(
        "import socket\n\ndef test_planted():\n    socket.create_connection(('127.0.0.1', 9), timeout=0.1)\n"
    )

    done = run("pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", str(unit), cwd=tmp_path)

    assert done.returncode == 1
    assert "SocketBlockedError" in done.stdout


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ("    except ValueError:\n        pass\n", "S110"),
        ("    except Exception:\n        print(1)\n", "BLE001"),
    ],
)
def test_a_swallowed_error_is_caught(tmp_path, body, rule):
    planted = tmp_path / "planted.py"
    planted.write_text(f'"""Planted."""\n\n\ndef planted() -> None:\n    """Swallow."""\n    try:\n        int("x")\n{body}')

    done = run("ruff", "check", "--config", str(ROOT / "pyproject.toml"), "--no-cache", str(planted), cwd=tmp_path)

    assert done.returncode == 1
    assert rule in done.stdout or (rule == "S110" and "SIM105" in done.stdout)


def test_patient_data_in_a_log_line_is_caught():
    program = (
        "from backbone import telemetry\n"
        "telemetry.configure('test')\n"
        "telemetry.logger().info('admitted', family_name='ZZCANARY', mrn='4711', bed='OR 1')\n"
    )

    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert "ZZCANARY" not in done.stderr
    assert "4711" not in done.stderr
    assert '"bed": "OR 1"' in done.stderr
    assert '"dropped_fields": ["family_name", "mrn"]' in done.stderr


def test_a_bare_environment_read_is_caught(tmp_path):
    planted = tmp_path / "planted.py"
    planted.write_text('"""Planted."""\n\nimport os\n\nREDIS = os.environ["REDIS"]\n')

    done = run("ruff", "check", "--config", str(ROOT / "pyproject.toml"), "--no-cache", str(planted), cwd=tmp_path)

    assert "TID251" in done.stdout
