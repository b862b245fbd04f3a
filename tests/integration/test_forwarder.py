"""Journal to streams with a real Valkey: each effect exactly once, in order, whatever the server forgets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import redis

from anesthesia.leaf import Event, event_of
from backbone.clock import SystemClock
from backbone.redis.streams import connect, key
from backbone.vault import Seal
from services.hl7_listener.forwarder import Forwarder
from services.hl7_listener.journal import Journal
from services.hl7_listener.record import Commit, Effect, MessageRow, State
from services.hl7_listener.telling import Teller
from tests.servers import Valkey

KEEP = timedelta(hours=1)
CASE = UUID(int=7)


@pytest.fixture
async def journal(tmp_path) -> AsyncIterator[Journal]:
    opened = Journal(tmp_path / "journal", Seal(b"k" * 32))
    yield opened
    await opened.close()


async def commit(journal: Journal, *effects: Effect) -> int:
    now = datetime.now(UTC)
    sequence = journal.next_sequence()
    await journal.commit(Commit(MessageRow(sequence, now, State.ACCEPTED), effects), now)
    return sequence


def frame(partition: int, text: str) -> Effect:
    return Effect(partition, None, text.encode())


@contextlib.asynccontextmanager
async def forwarding(journal: Journal, url: str, keep: timedelta = KEEP) -> AsyncIterator[Forwarder]:
    async with connect(url) as streams:
        forwarder = Forwarder(journal, streams, "listener-1", Teller(journal, "listener-1", {}, SystemClock()), SystemClock(), keep)
        task = asyncio.ensure_future(forwarder.forward())
        yield forwarder
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def payloads(url: str, partition: int) -> list[bytes]:
    with contextlib.closing(redis.Redis.from_url(url)) as client:
        return [fields[b"f"] for _, fields in client.xrange(key(partition, "frames"))]


def told(url: str) -> list[Event]:
    with contextlib.closing(redis.Redis.from_url(url)) as client:
        return [event_of(fields[b"e"]) for _, fields in client.xrange(key(0, "events"))]


async def becomes(expected: object, ask: object, within_s: float = 15.0) -> None:
    """Wait until `ask()` gives what is expected; at the end it must."""
    deadline = asyncio.get_running_loop().time() + within_s
    while ask() != expected and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110  a real server has no Event
        await asyncio.sleep(0.02)
    assert ask() == expected


async def test_what_is_committed_before_and_after_the_start_arrives_in_order(journal, redis_url):
    before = [await commit(journal, frame(3, f"{n}")) for n in range(3)]

    async with forwarding(journal, redis_url):
        after = [await commit(journal, frame(3, f"{n}")) for n in range(3, 6)]

        await becomes([b"0", b"1", b"2", b"3", b"4", b"5"], lambda: payloads(redis_url, 3))
    assert before + after == [0, 1, 2, 3, 4, 5]


async def test_the_effects_of_one_message_reach_each_partition_and_the_newest_occupancy_is_kept(journal, redis_url):
    async with forwarding(journal, redis_url):
        await commit(journal, Effect(1, CASE, b"left"), Effect(2, CASE, b"came"), frame(1, "frame"))

        await becomes([b"left", b"frame"], lambda: payloads(redis_url, 1))
        await becomes([b"came"], lambda: payloads(redis_url, 2))
    with contextlib.closing(redis.Redis.from_url(redis_url)) as client:
        assert client.hget(key(2, "occupancies"), str(CASE)) == b"came"


async def test_a_forwarder_that_begins_anew_sends_nothing_twice(journal, redis_url):
    for n in range(600):
        await commit(journal, frame(n % 2, f"{n}"))

    for _ in range(2):
        async with forwarding(journal, redis_url) as forwarder:
            await becomes(599, lambda f=forwarder: f.position)

    assert payloads(redis_url, 0) == [b"%d" % n for n in range(0, 600, 2)]
    assert payloads(redis_url, 1) == [b"%d" % n for n in range(1, 600, 2)]


async def test_a_server_that_lost_one_partition_gets_it_again_and_the_others_not(journal, redis_url):
    async with forwarding(journal, redis_url):
        for n in range(4):
            await commit(journal, frame(n % 2, f"{n}"))
        await becomes([b"1", b"3"], lambda: payloads(redis_url, 1))
        with contextlib.closing(redis.Redis.from_url(redis_url)) as client:
            client.delete(key(1, "frames"), key(1, "cursor"))

        await becomes([b"1", b"3"], lambda: payloads(redis_url, 1))
        await commit(journal, frame(1, "4"))

        await becomes([b"1", b"3", b"4"], lambda: payloads(redis_url, 1))
        assert payloads(redis_url, 0) == [b"0", b"2"]


async def test_a_server_that_restarts_gets_what_was_committed_meanwhile(journal, valkey):
    async with forwarding(journal, valkey.url) as forwarder:
        await commit(journal, frame(5, "before"))
        await becomes(0, lambda: forwarder.position)
        valkey.stop()
        await commit(journal, frame(5, "meanwhile"))
        valkey.start()

        await becomes([b"before", b"meanwhile"], lambda: payloads(valkey.url, 5))
    assert isinstance(valkey, Valkey)


async def test_what_the_log_is_told_waits_for_the_server(journal, valkey):
    now = datetime.now(UTC)
    row = MessageRow(journal.next_sequence(), now, State.REFUSED, source="adt", message_type="ADT^A01", code="no_bed")
    await journal.commit(Commit(row), now)
    valkey.stop()

    async with forwarding(journal, valkey.url):
        valkey.start()
        await becomes(["listener_started", "adt_not_applied"], lambda: [event.kind for event in told(valkey.url)])


async def test_old_entries_are_trimmed_from_the_streams_and_stay_in_the_journal(journal, redis_url):
    with contextlib.closing(redis.Redis.from_url(redis_url)) as client:
        for n in range(1000):
            client.xadd(key(0, "frames"), {"f": "old"}, id=f"{n + 1}-0")

        async with forwarding(journal, redis_url):
            await commit(journal, frame(0, "new"))

            await becomes(True, lambda: client.xlen(key(0, "frames")) < 200)
        assert payloads(redis_url, 0)[-1] == b"new"
