"""The audit log as the ledger's process writes it: from the streams, through kills, to the checkpoint at its end."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from anesthesia.leaf import Event
from anesthesia.occupancy import Occupancy
from anesthesia.reading import Bed
from backbone.audit import snapshot
from backbone.redis.streams import NOTHING_BEFORE, connect, partition_of
from backbone.wire import pack_entry
from services.ledger.checkpoint import KEPT, PUBLIC, checked, public_key
from services.ledger.keeper import CHECKPOINT_EACH_S
from services.ledger.verify import Audit, Report
from tests.records import SITE, case_of, eeg, record
from tests.servers import until

BED = Bed(SITE, "OR 1")


def audited(url: str, folder: Path) -> Report:
    with snapshot(url) as found:
        return Audit(found, public_key(folder / "keys" / PUBLIC)).run()


def leaves(url: str, kind: str) -> int:
    try:
        with psycopg.connect(url) as connection:
            found = connection.execute("SELECT count(*) FROM leaves WHERE kind = %s", (kind,)).fetchone()
    except psycopg.Error:
        return -1
    return int(found[0]) if found else -1


def occupy(url: str, sequence: int, end: datetime | None) -> None:
    """Append a revision of the Occupancy of OR 1, as the forwarder does."""
    start = datetime(2026, 1, 1, 8, tzinfo=UTC)
    one = Occupancy(BED, case_of("OR 1"), "ab" * 12, start, end, theatre=True, sealed_identity=b"sealed", simulated=True)

    async def append() -> None:
        async with connect(url) as streams:
            await streams.prepare()
            await streams.append(partition_of(BED), "l:g", sequence, [(one.case_id, pack_entry(one))], after=NOTHING_BEFORE)

    asyncio.run(append())


def tell(url: str, *events: bytes) -> None:
    async def append() -> None:
        async with connect(url) as streams:
            for payload in events:
                await streams.event(partition_of(BED), payload)

    asyncio.run(append())


def test_an_event_and_an_occupancy_have_their_leaves(start_ledger, redis_url, database_url, tmp_path):
    process = start_ledger()
    occupy(redis_url, 0, None)
    tell(redis_url, Event("case_opened", datetime.now(UTC), "depth_scorer", case_of("OR 1")).encode(), b"no event")
    until("both leaves", lambda: leaves(database_url, "event") == 1 and leaves(database_url, "occupancy") == 1)

    occupy(redis_url, 1, datetime.now(UTC) + timedelta(hours=1))

    until("the revision's leaf", lambda: leaves(database_url, "occupancy") == 2)
    process.terminate()
    process.wait(5)
    report = audited(database_url, tmp_path)
    assert (report.leaves, report.faults) == (3, [])


def test_after_a_restart_nothing_has_a_second_leaf(start_ledger, redis_url, database_url, tmp_path):
    first = start_ledger()
    occupy(redis_url, 0, None)
    tell(redis_url, Event("case_opened", datetime.now(UTC), "depth_scorer").encode())
    until("both leaves", lambda: leaves(database_url, "event") == 1 and leaves(database_url, "occupancy") == 1)

    first.kill()
    first.wait()
    start_ledger()
    record(redis_url, eeg("OR 1", int(time.time())))

    until("the record's leaf", lambda: leaves(database_url, "record") == 1)
    time.sleep(2.5)  # two more looks at the Occupancies
    assert audited(database_url, tmp_path).leaves == 3


def test_a_told_ledger_signs_what_it_has_written(start_ledger, redis_url, database_url, tmp_path):
    process = start_ledger()
    record(redis_url, *(eeg("OR 1", int(time.time()) + n) for n in range(5)))
    until("the leaves", lambda: leaves(database_url, "record") == 5)

    process.terminate()

    assert process.wait(5) == 0
    report = audited(database_url, tmp_path)
    assert (report.newest_checkpoint, report.faults) == (5, [])
    kept = checked((tmp_path / "keys" / KEPT).read_text(), public_key(tmp_path / "keys" / PUBLIC))
    assert kept.checkpoint.size == 5


def test_the_first_leaves_are_signed_at_once(start_ledger, redis_url, database_url, tmp_path):
    start_ledger()

    record(redis_url, eeg("OR 1", int(time.time())))

    until("a checkpoint", (tmp_path / "keys" / KEPT).exists, CHECKPOINT_EACH_S / 4)
    assert audited(database_url, tmp_path).newest_checkpoint == 1


def test_a_thousand_more_leaves_bring_a_checkpoint(start_ledger, redis_url, database_url, tmp_path):
    now = int(time.time())
    start_ledger()
    record(redis_url, eeg("OR 1", now))
    until("the first checkpoint", (tmp_path / "keys" / KEPT).exists)

    record(redis_url, *(eeg("OR 1", now + 1 + n) for n in range(1200)))

    until("one more", lambda: audited(database_url, tmp_path).newest_checkpoint > 1000, CHECKPOINT_EACH_S / 2)


def test_kills_in_the_midst_leave_no_gap_and_no_record_without_its_leaf(start_ledger, redis_url, database_url, tmp_path):
    now = int(time.time())
    record(redis_url, *(eeg("OR 1", now + n) for n in range(4000)))
    for round_number in range(4):
        process = start_ledger()
        until("it writes", lambda n=round_number: leaves(database_url, "record") > 300 * n)
        process.kill()
        process.wait()
        assert audited(database_url, tmp_path).faults == []

    start_ledger()

    until("all", lambda: leaves(database_url, "record") == 4000)
    report = audited(database_url, tmp_path)
    assert (report.leaves, report.records, report.faults) == (4000, 4000, [])


def test_a_ledger_on_an_older_database_ends_and_says_why(start_ledger, redis_url, database_url, tmp_path):
    process = start_ledger()
    record(redis_url, eeg("OR 1", int(time.time())))
    until("the leaf", lambda: leaves(database_url, "record") == 1)
    process.terminate()
    process.wait(5)
    with psycopg.connect(database_url) as connection:
        for table in ("leaves", "records", "tree", "checkpoints"):
            connection.execute(f"DELETE FROM {table}".encode())

    again = start_ledger()

    assert again.wait(20) == 1
    assert "older backup" in (tmp_path / "ledger.log").read_text()
