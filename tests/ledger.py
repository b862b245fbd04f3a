"""Ledgers for tests: as processes, and the key that one signs with."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backbone.vault import make_keys
from services.ledger.checkpoint import Keep

ROOT = Path(__file__).parents[1]
SITE_FILE = ROOT / "deploy" / "demo" / "sopor.toml"
StartLedger = Callable[..., "subprocess.Popen[bytes]"]


def ledger_environment(redis_url: str, database_url: str, folder: Path) -> dict[str, str]:
    """Return what a ledger needs: its keys are made in `keys` of the folder, its archive lies in `archive`."""
    make_keys(folder / "keys")
    return {
        **os.environ,
        "SOPOR_SITE": str(SITE_FILE),
        "SOPOR_REDIS_URL": redis_url,
        "SOPOR_DATABASE_URL": database_url,
        "SOPOR_KEYS": str(folder / "keys"),
        "SOPOR_LEDGER_ARCHIVE": str(folder / "archive"),
    }


@pytest.fixture
def keep(tmp_path: Path) -> Keep:
    """The key that signs the log, in `keys` of the test's folder."""
    return Keep(tmp_path / "keys")


@pytest.fixture
def start_ledger(redis_url: str, database_url: str, tmp_path: Path) -> Iterator[StartLedger]:
    """Starts ledgers, with settings such as `archive_each_s="1"`; their log is `ledger.log` in the test's folder."""
    running = []
    environment = ledger_environment(redis_url, database_url, tmp_path)

    def starts(**settings: str) -> "subprocess.Popen[bytes]":
        given = environment | {f"SOPOR_LEDGER_{name.upper()}": value for name, value in settings.items()}
        with (tmp_path / "ledger.log").open("ab") as log:
            process = subprocess.Popen([sys.executable, "-m", "services.ledger"], env=given, stderr=log, cwd=ROOT)
        running.append(process)
        return process

    yield starts
    for process in running:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()
