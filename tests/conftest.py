"""Fixtures for all tests; marks come from the folder a test lies in."""

from pathlib import Path

import pytest

pytest_plugins = ("tests.servers", "tests.servers_ehr", "tests.ehr_writer", "tests.ledger", "tests.model_server", "tests.web")
FOLDERS = {"unit", "integration", "conformance", "system", "browser", "shape"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by its folder."""
    here = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(here).parts[0]
        if folder in FOLDERS:
            item.add_marker(folder)
