"""Fixtures for all tests; marks come from the folder a test lies in."""

import signal
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ("tests.servers", "tests.servers_ehr", "tests.ehr_writer", "tests.ledger", "tests.model_server", "tests.web")
FOLDERS = {"unit", "integration", "conformance", "system", "browser", "shape"}


def pytest_configure() -> None:
    """Undo what a shell does to a job in the background: it would ignore SIGINT, and so would all that the tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def folder_of(path: str) -> str:
    """Return the folder below `tests` that a file lies in."""
    return Path(path).parts[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by its folder; those of every process, which take longest, come first."""
    here = Path(__file__).parents[1]
    for item in items:
        folder = folder_of(str(item.path.relative_to(here)))
        if folder in FOLDERS:
            item.add_marker(folder)
    items.sort(key=lambda item: item.get_closest_marker("system") is None)


class FilesToWorkers(LoadScopeScheduling):
    """A file's tests run in one worker, and all demos in one, for they ask for the same ports."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "system" if folder_of(file) == "system" else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesToWorkers:
    """Return who shares out the tests where there are several workers."""
    return FilesToWorkers(config, log)
