"""Fixtures for all tests; marks come from the folder a test lies in."""

import signal
from pathlib import Path

import pytest

pytest_plugins = ("tests.servers", "tests.servers_ehr", "tests.ehr_writer", "tests.ledger", "tests.web")
FOLDERS = {"unit", "integration", "conformance", "system", "browser", "shape"}


def pytest_configure() -> None:
    """Undo what a shell does to a job in the background: it would ignore SIGINT, and so would all that the tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by its folder, and what one worker runs: a file, but all demos are one, for they ask for the same ports."""
    here = Path(__file__).parent
    for item in items:
        path = item.path.relative_to(here)
        folder = path.parts[0]
        if folder in FOLDERS:
            item.add_marker(folder)
        item.add_marker(pytest.mark.xdist_group(folder if folder == "system" else str(path)))
