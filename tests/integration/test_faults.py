"""Tampering on purpose, against a real log in PostgreSQL: one record is changed, and the audit names just that one."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from anesthesia.prediction import Record, RefusalReason
from backbone.audit import snapshot
from backbone.database import upgrade
from backbone.supervisor.errors import SupervisorError
from backbone.supervisor.state import State
from backbone.supervisor.watched import Phase
from backbone.wire import pack_record
from cli.faults import Faults
from services.ledger.book import Book
from services.ledger.checkpoint import PUBLIC, Keep, public_key
from services.ledger.records import Batch, row_of
from services.ledger.verify import Audit, Report
from tests.records import device, eeg, refusal

BEGAN = 1_790_000_000
NOW = datetime.fromtimestamp(BEGAN, UTC)


class Untouched:
    """Processes that no fault of these tests may touch."""

    def phase_of(self, name: str) -> Phase:
        raise AssertionError(name)

    hold = release = kill = phase_of


def batch(*records: Record, position: str) -> Batch:
    return Batch(rows=[row_of(one, pack_record(one)) for one in records], positions={3: position})


@pytest.fixture
def book(database_url: str, keep: Keep) -> Iterator[Book]:
    """A log of 5 leaves: 2 scores from EEG (0: 44, 1: 55), a device's value, two refusals."""
    upgrade(database_url)
    made = Book(database_url)
    assert made.lead()
    made.take(keep)
    records = [eeg("OR 1", BEGAN, 44.0), eeg("OR 1", BEGAN + 1, 55.0), device("OR 5", BEGAN, BEGAN)]
    records += [refusal("OR 1", BEGAN + n, RefusalReason.NO_EEG) for n in (2, 3)]
    made.write(batch(*records, position="5-0"), NOW)
    made.sign(keep, NOW)
    yield made
    made.close()


@pytest.fixture
def faults(book: Book, database_url: str, tmp_path: Path) -> Faults:
    return Faults(Untouched(), State(tmp_path), database_url)


def audited(database_url: str, folder: Path) -> Report:
    with snapshot(database_url) as found:
        return Audit(found, public_key(folder / "keys" / PUBLIC)).run()


def test_the_newest_score_from_eeg_is_changed_and_the_audit_names_its_leaf(faults, database_url, tmp_path):
    told = faults.do("tamper_audit")

    report = audited(database_url, tmp_path)
    assert "the depth of OR 1 at 14:13:21Z is now 30.0, was 55.0 (leaf 1)" in told
    assert [(fault.what, fault.index, fault.second) for fault in report.faults] == [("record_differs", 1, BEGAN + 1)]
    assert [one.leaf for one in faults.done] == [1]


def test_a_record_is_never_changed_twice_since_that_could_undo_the_first(faults, book, database_url, tmp_path):
    faults.do("tamper_audit")

    with pytest.raises(SupervisorError, match="since: nothing was changed"):
        faults.do("tamper_audit")
    book.write(batch(eeg("OR 1", BEGAN + 4, 44.0), position="6-0"), NOW)
    told = faults.do("tamper_audit")

    assert "is now 69.0, was 44.0 (leaf 5)" in told
    assert [fault.index for fault in audited(database_url, tmp_path).faults] == [1, 5]
