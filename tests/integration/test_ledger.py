"""The ledger against a real Valkey and a real PostgreSQL."""

import asyncio
import contextlib
import signal
import time
from importlib import import_module
from pathlib import Path

import psycopg
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from anesthesia.prediction import Caveat, RefusalReason
from anesthesia.reading import Bed
from backbone.database import Reader, engine_of, upgrade
from backbone.redis.streams import connect, key, partition_of
from backbone.tables import Base
from backbone.wire import unpack_record
from tests.ledger import StartLedger
from tests.records import SITE, device, eeg, record, refusal
from tests.servers import Postgres, Valkey, until


def _rows(url: str, query: str) -> list[tuple[object, ...]]:
    try:
        with psycopg.connect(url) as connection:
            return connection.execute(query.encode()).fetchall()
    except psycopg.Error:
        return []


def _count(url: str, table: str = "records") -> int:
    found = _rows(url, f"SELECT count(*) FROM {table}")
    return int(str(found[0][0])) if found else -1


def _append(url: str, partition: int, payload: bytes) -> None:
    async def append() -> None:
        async with connect(url) as streams:
            await streams._client.xadd(key(partition, "predictions"), {"r": payload})

    asyncio.run(append())


def test_the_migrations_lead_to_the_tables(database_url: str) -> None:
    import_module("backbone.ehr_tables")  # its tables join the same Base

    upgrade(database_url)
    upgrade(database_url)

    with engine_of(database_url).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_predictions_and_refusals_become_rows(start_ledger: StartLedger, redis_url: str, database_url: str) -> None:
    now = int(time.time())
    scored = eeg("OR 1", now, caveats=(Caveat.ELDERLY,))
    record(redis_url, scored, refusal("OR 1", now + 1, RefusalReason.CAUTERY), device("OR 5", now, now))

    start_ledger()

    until("three rows", lambda: _count(database_url) == 3)
    columns = "outcome, tier, value, reason, caveats, simulated, model, payload"
    first, second = _rows(database_url, f"SELECT {columns} FROM records WHERE bed = 'OR 1' ORDER BY second")
    assert first[:7] == ("prediction", "E", 47.2, None, ["elderly"], True, "depth-eeg@0.1.0")
    assert unpack_record(bytes(first[7])) == scored  # type: ignore[call-overload]
    assert second[:6] == ("refusal", None, None, "cautery", [], True)
    reader = Reader(database_url)
    assert [(s.second, s.tier, s.value) for s in reader.scored(Bed(SITE, "OR 1"), since=now)] == [(now, "E", 47.2)]
    assert set(reader.positions()) == {partition_of(Bed(SITE, "OR 1")), partition_of(Bed(SITE, "OR 5"))}
    reader.close()


def test_an_entry_that_does_not_decode_is_kept_and_costs_nothing_else(start_ledger: StartLedger, redis_url: str, database_url: str) -> None:
    now = int(time.time())
    partition = partition_of(Bed(SITE, "OR 1"))
    record(redis_url, eeg("OR 1", now))
    _append(redis_url, partition, b"\xff\xff no record")
    record(redis_url, eeg("OR 1", now + 1))

    start_ledger()

    until("both rows", lambda: _count(database_url) == 2)
    assert _rows(database_url, "SELECT partition, payload FROM unreadable") == [(partition, b"\xff\xff no record")]


def test_a_second_recorded_twice_stays_as_first_written_and_a_difference_is_told(
    start_ledger: StartLedger,
    redis_url: str,
    database_url: str,
    tmp_path: Path,
) -> None:
    from backbone.wire import pack_record

    now = int(time.time())
    partition = partition_of(Bed(SITE, "OR 1"))
    for value in (47.2, 47.2, 12.0):
        _append(redis_url, partition, pack_record(eeg("OR 1", now, value)))

    start_ledger()

    until("the row", lambda: _count(database_url) == 1)
    assert _rows(database_url, "SELECT value FROM records") == [(47.2,)]
    assert (tmp_path / "ledger.log").read_text().count("record_conflict") == 1


def test_a_killed_ledger_neither_loses_nor_doubles(start_ledger: StartLedger, redis_url: str, database_url: str) -> None:
    now = int(time.time())
    for round_number in range(4):
        process = start_ledger()
        record(redis_url, *(eeg("OR 1", now + 100 * round_number + n) for n in range(100)))
        until("it has begun", lambda n=round_number: _count(database_url) > 100 * n - 50)
        process.kill()
        process.wait()

    start_ledger()

    until("all four hundred", lambda: _count(database_url) == 400)
    seconds = [row[0] for row in _rows(database_url, "SELECT second FROM records ORDER BY second")]
    assert seconds == list(range(now, now + 400))


def test_one_ledger_leads_and_the_next_takes_over(start_ledger: StartLedger, redis_url: str, database_url: str, tmp_path: Path) -> None:
    now = int(time.time())
    first = start_ledger()
    until("the first leads", lambda: '"leading"' in (tmp_path / "ledger.log").read_text())
    second = start_ledger()
    until("the second stands by", lambda: "standing by" in (tmp_path / "ledger.log").read_text())

    first.kill()
    record(redis_url, eeg("OR 1", now))

    until("the second writes", lambda: _count(database_url) == 1)
    assert second.poll() is None


def test_postgresql_may_go_and_come_back(start_ledger: StartLedger, redis_url: str, database_url: str, postgres: Postgres) -> None:
    now = int(time.time())
    process = start_ledger()
    record(redis_url, eeg("OR 1", now))
    until("the first row", lambda: _count(database_url) == 1)

    postgres.stop()
    record(redis_url, eeg("OR 1", now + 1), eeg("OR 1", now + 2))
    time.sleep(1)
    postgres.start()

    until("the rest", lambda: _count(database_url) == 3)
    assert process.poll() is None


def test_redis_may_go_and_come_back(start_ledger: StartLedger, database_url: str, valkey: Valkey) -> None:
    now = int(time.time())
    process = start_ledger()
    record(valkey.url, eeg("OR 1", now))
    until("the first row", lambda: _count(database_url) == 1)

    valkey.stop()
    time.sleep(1)
    valkey.start()
    record(valkey.url, eeg("OR 1", now + 1))

    until("the second row", lambda: _count(database_url) == 2)
    assert process.poll() is None


def test_a_hanging_postgresql_is_survived(start_ledger: StartLedger, redis_url: str, database_url: str, postgres: Postgres) -> None:
    now = int(time.time())
    start_ledger()
    record(redis_url, eeg("OR 1", now))
    until("the first row", lambda: _count(database_url) == 1)

    try:
        _signal_all(postgres, signal.SIGSTOP)
        record(redis_url, eeg("OR 1", now + 1))
        time.sleep(12)  # longer than the ledger's deadline
    finally:
        _signal_all(postgres, signal.SIGCONT)

    until("the second row", lambda: _count(database_url) == 2)


def _signal_all(server: Postgres, number: signal.Signals) -> None:
    import psutil

    for process in (psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # a worker that ended meanwhile
            process.send_signal(number)


def test_a_told_ledger_stops_in_order(start_ledger: StartLedger, tmp_path: Path) -> None:
    process = start_ledger()
    until("it leads", lambda: '"leading"' in (tmp_path / "ledger.log").read_text())

    process.terminate()

    assert process.wait(5) == 0
