"""The ledger's archive against a real Valkey and a real PostgreSQL: each entry of a case once, in order, whatever dies."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import redis

from anesthesia.occupancy import Occupancy
from anesthesia.reading import Bed, Frame, Numeric, Origin
from backbone.audit import StoredArchive, snapshot
from backbone.database import DatabaseDown
from backbone.redis.streams import key, moment_of, partition_of
from backbone.vault import archive_seal
from backbone.wire import pack_entry, unpack_entry
from services.ledger.archive_file import ArchivedEntry, entries_of, seal_of
from services.ledger.archive_folder import path_of, reading
from services.ledger.checkpoint import PUBLIC, public_key
from services.ledger.verify import Audit, Fault
from tests.ledger import StartLedger
from tests.records import SITE, case_of, eeg, record
from tests.servers import Postgres, until

OFTEN = {"archive_each_s": "0.3"}
OTHER = next(name for n in range(2, 200) if partition_of(Bed(SITE, name := f"OR {n}")) == partition_of(Bed(SITE, "OR 1")))


class Ward:
    """Appends to the streams what a listener would append, now or at an instant of the past."""

    def __init__(self, url: str) -> None:
        """Connect."""
        self.url = url
        self.client: redis.Redis = redis.Redis.from_url(url)
        self._sequence = 0
        self._now = datetime.now(UTC)

    def send(self, body: Frame | Occupancy, *, ago_s: float = 0.0, sequence: int | None = None) -> None:
        """Append one entry; `ago_s` dates its id back."""
        self._sequence += 1
        number = self._sequence if sequence is None else sequence
        at_ms = int((time.time() - ago_s) * 1000)
        partition = partition_of(body.bed)
        fields = {"f": pack_entry(body), "s": number, "l": "l:g", "i": 0}
        self.client.xadd(key(partition, "frames"), fields, id=f"{at_ms}-{number}" if ago_s else "*")
        if isinstance(body, Occupancy):
            self.client.hset(key(partition, "occupancies"), str(body.case_id), pack_entry(body))

    def admit(self, bed: str = "OR 1", *, ago_s: float = 0.0, ended_ago_s: float | None = None) -> None:
        """Append an Occupancy that began an hour before it is told."""
        start = self._now - timedelta(seconds=ago_s + 3600)
        end = None if ended_ago_s is None else self._now - timedelta(seconds=ended_ago_s)
        self.send(Occupancy(Bed(SITE, bed), case_of(bed), "ab" * 12, start, end, theatre=True, simulated=True), ago_s=ago_s)

    def beat(self, count: int, bed: str = "OR 1", *, ago_s: float = 0.0) -> None:
        """Append so many Frames."""
        at = datetime.now(UTC) - timedelta(seconds=ago_s)
        for n in range(count):
            origin = Origin("l", "g", self._sequence + 1, 0)
            self.send(Frame(Bed(SITE, bed), "monitor", (Numeric("heart_rate", 60.0 + n % 50, at),), at, origin), ago_s=ago_s)

    def entries(self, bed: str = "OR 1") -> list[tuple[str, bytes]]:
        """Return what the stream holds of a bed."""
        found = self.client.xrange(key(partition_of(Bed(SITE, bed)), "frames"))
        held = [(entry_id.decode(), fields[b"f"]) for entry_id, fields in found]
        return [one for one in held if unpack_entry(one[1]).bed.name == bed]


@pytest.fixture
def ward(redis_url: str) -> Iterator[Ward]:
    made = Ward(redis_url)
    yield made
    made.client.close()


class Archives:
    """What a reader finds."""

    def __init__(self, database_url: str, folder: Path) -> None:
        """Look into a test's folder."""
        self.url, self.folder = database_url, folder

    def row(self, bed: str = "OR 1") -> StoredArchive | None:
        try:
            with snapshot(self.url) as found:
                return found.archive_of(case_of(bed))
        except DatabaseDown:  # not migrated yet
            return None

    def read(self, bed: str = "OR 1") -> list[ArchivedEntry]:
        stored = self.row(bed)
        assert stored is not None
        with reading(self.folder / "archive", stored.case_id) as file:
            return list(entries_of(file, stored, seal_of(archive_seal(self.folder / "keys"), stored)))

    def held(self, bed: str = "OR 1") -> list[tuple[str, bytes]]:
        """Return the entries that came from the stream."""
        return [(one.entry_id, one.payload) for one in self.read(bed) if one.entry_id != "0-0"]

    def holds(self, ward: Ward, bed: str = "OR 1") -> Callable[[], bool]:
        newest = ward.entries(bed)[-1][0]
        return lambda: (row := self.row(bed)) is not None and moment_of(row.last_entry) >= moment_of(newest)

    def faults(self) -> list[Fault]:
        with snapshot(self.url) as found:
            return Audit(found, public_key(self.folder / "keys" / PUBLIC), None, self.folder / "archive").run().faults


@pytest.fixture
def archives(database_url: str, tmp_path: Path) -> Archives:
    return Archives(database_url, tmp_path)


def test_a_case_has_what_its_bed_sent_and_what_came_before_its_patient_was_known(start_ledger: StartLedger, ward: Ward, archives: Archives):
    ward.beat(30, ago_s=300)
    ward.beat(3, OTHER, ago_s=200)
    ward.admit(ago_s=100)
    start_ledger(**OFTEN)
    ward.beat(20)
    ward.beat(20, OTHER)

    until("all is archived", archives.holds(ward))

    assert archives.held() == ward.entries()
    assert archives.row(OTHER) is None
    assert archives.faults() == []


def test_a_ledger_killed_between_file_and_transaction_neither_doubles_nor_loses(
    start_ledger: StartLedger, ward: Ward, archives: Archives, database_url: str
):
    ward.admit()
    ward.beat(10)
    process = start_ledger(**OFTEN)
    until("the first entries", archives.holds(ward))
    path = path_of(archives.folder / "archive", case_of("OR 1"))
    committed = path.stat().st_size
    with psycopg.connect(database_url) as holding:
        holding.execute("LOCK TABLE archives IN SHARE MODE")  # readers may; the ledger's transaction waits
        ward.beat(25)
        until("the file has more than the table says", lambda: path.stat().st_size > committed)
        process.kill()
        process.wait()
    row = archives.row()
    assert row is not None
    assert row.size == committed < path.stat().st_size

    ward.beat(5)
    start_ledger(**OFTEN)

    until("all is archived", archives.holds(ward))
    assert archives.held() == ward.entries()
    assert archives.faults() == []


def test_kills_at_any_moment_leave_every_entry_once(start_ledger: StartLedger, ward: Ward, archives: Archives):
    ward.admit()
    for pause_s in (0.1, 0.4, 0.2, 0.3):
        process = start_ledger(archive_each_s="0.05")
        until("it leads", lambda: '"leading"' in (archives.folder / "ledger.log").read_text())
        ward.beat(60)
        time.sleep(pause_s)  # any moment will do
        process.kill()
        process.wait()
        ward.beat(15)

    start_ledger(**OFTEN)

    until("all is archived", archives.holds(ward))
    assert archives.held() == ward.entries()


def test_a_told_ledger_leaves_nothing_unwritten(start_ledger: StartLedger, ward: Ward, archives: Archives):
    process = start_ledger(archive_each_s="300")
    until("it leads", lambda: '"leading"' in (archives.folder / "ledger.log").read_text())
    ward.admit()
    ward.beat(40)
    until("it has read them", lambda: _read_to_the_end(archives))

    process.terminate()

    assert process.wait(10) == 0
    assert archives.held() == ward.entries()


def _read_to_the_end(archives: Archives) -> bool:
    """Two looks of the archivist are over: what was sent before is in its buffer."""
    began = time.monotonic()
    while time.monotonic() - began < 2.5:
        time.sleep(0.1)
    return True


def test_entries_that_redis_lost_and_got_again_are_kept_as_they_came(start_ledger: StartLedger, ward: Ward, archives: Archives):
    ward.admit()
    ward.beat(20)
    process = start_ledger(**OFTEN)
    until("all is archived", archives.holds(ward))
    process.terminate()
    process.wait(10)
    stream = key(partition_of(Bed(SITE, "OR 1")), "frames")
    before = ward.entries()
    ward.client.xdel(stream, *(entry_id for entry_id, _ in before[-5:]))

    start_ledger(**OFTEN)
    until("it saw it", lambda: "stream_went_back" in (archives.folder / "ledger.log").read_text())
    for number, (_, payload) in enumerate(before[-5:]):
        ward.send(unpack_entry(payload), sequence=17 + number)
    ward.beat(3)

    until("all is archived", archives.holds(ward))
    held = archives.held()
    assert [one[0] for one in held[:21]] == [one[0] for one in before]
    assert held[21:] == ward.entries()[16:]
    assert archives.faults() == []


def test_the_streams_forget_old_entries_only_when_they_are_archived(start_ledger: StartLedger, ward: Ward, archives: Archives):
    ward.admit(ago_s=5 * 3600)
    ward.beat(600, ago_s=4 * 3600)
    sent = ward.entries()
    (archives.folder / "archive").write_text("no folder")  # so nothing can be archived
    process = start_ledger(**OFTEN)
    record(ward.url, eeg("OR 1", int(time.time())))
    until("records go on", lambda: _count(archives.url, "records") == 1)
    until("the failure is said", lambda: "archive_failed" in (archives.folder / "ledger.log").read_text())
    time.sleep(11)  # one turn of trimming
    assert ward.entries() == sent

    (archives.folder / "archive").unlink()

    until("all is archived", archives.holds(ward), within_s=30)
    until("the old entries went", lambda: len(ward.entries()) < 200, within_s=30)
    assert archives.held() == sent
    assert process.poll() is None


def _count(url: str, table: str) -> int:
    try:
        with psycopg.connect(url) as connection:
            found = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
    except psycopg.Error:
        return -1
    return int(found[0]) if found else -1


def test_a_missing_file_is_told_and_costs_no_other_case(start_ledger: StartLedger, ward: Ward, archives: Archives):
    for bed in ("OR 1", OTHER):
        ward.admit(bed)
        ward.beat(5, bed)
    start_ledger(**OFTEN)
    until("both are archived", lambda: archives.holds(ward)() and archives.holds(ward, OTHER)())

    path_of(archives.folder / "archive", case_of("OR 1")).unlink()
    ward.beat(5)
    ward.beat(5, OTHER)

    until("the other goes on", archives.holds(ward, OTHER))
    until("it is told", lambda: "archive_damaged" in (archives.folder / "ledger.log").read_text())
    assert archives.held(OTHER) == ward.entries(OTHER)
    [fault] = archives.faults()
    assert (fault.what, fault.case_id) == ("archive", case_of("OR 1"))


def test_a_case_that_is_over_is_closed_with_a_leaf_and_a_change_after_it_is_found(
    start_ledger: StartLedger, ward: Ward, archives: Archives, database_url: str
):
    ward.admit(ago_s=2000)
    ward.beat(10, ago_s=1900)
    start_ledger(**OFTEN)
    until("it is archived", archives.holds(ward))

    ward.admit(ago_s=1, ended_ago_s=1500)
    ward.beat(4)  # the next patient's

    until("it is closed", lambda: (row := archives.row()) is not None and row.closed_at is not None)
    held = archives.held()
    assert len(held) == 12
    assert archives.faults() == []
    with psycopg.connect(database_url) as connection:
        [(said,)] = connection.execute("SELECT entry FROM leaves WHERE kind = 'event'").fetchall()
        assert json.loads(said)["event"]["kind"] == "archive_closed"
        connection.execute("UPDATE archives SET chunks = 0, size = 0, entries = 0")
    assert [fault.what for fault in archives.faults()] == ["archive"]


def test_a_case_that_goes_on_after_its_end_was_taken_back_has_no_gap(start_ledger: StartLedger, ward: Ward, archives: Archives):
    ward.admit(ago_s=2000)
    ward.admit(ago_s=1950, ended_ago_s=1500)
    start_ledger(**OFTEN)
    ward.beat(1, OTHER)
    until("it is closed", lambda: (row := archives.row()) is not None and row.closed_at is not None)
    ward.beat(7)

    ward.admit()
    ward.beat(3)

    until("it is open again", lambda: (row := archives.row()) is not None and row.closed_at is None)
    until("all is archived", archives.holds(ward))
    assert archives.held() == ward.entries()


def test_postgresql_may_go_and_come_back(start_ledger: StartLedger, ward: Ward, archives: Archives, postgres: Postgres):
    ward.admit()
    process = start_ledger(**OFTEN)
    until("it is open", lambda: archives.row() is not None)

    postgres.stop()
    ward.beat(30)
    time.sleep(1)
    postgres.start()

    until("all is archived", archives.holds(ward), within_s=40)
    assert archives.held() == ward.entries()
    assert process.poll() is None


def test_the_row_of_an_erased_key_stays_erased(start_ledger: StartLedger, ward: Ward, archives: Archives, database_url: str):
    ward.admit()
    start_ledger(**OFTEN)
    until("it is open", lambda: archives.row() is not None)
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE archives SET wrapped_key = NULL")

    ward.beat(5)

    until("all is archived", archives.holds(ward))
    row = archives.row()
    assert row is not None
    assert row.wrapped_key is None
