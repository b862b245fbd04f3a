"""Exactly once into the streams, on a real server."""

from uuid import UUID

import pytest

from anesthesia.reading import Bed
from backbone.redis.streams import PARTITIONS, LostData, RedisDown, UnsafeRedis, connect, key, partition_of

CASE = UUID(int=3)


@pytest.fixture
async def streams(redis_url):
    async with connect(redis_url) as opened:
        await opened.prepare()
        yield opened


async def frames(streams, partition: int = 3) -> list[bytes]:
    entries = await streams.read({key(partition, "frames"): "0-0"}, block_ms=0)
    return [entry.fields[b"f"] for entry in entries]


async def test_a_sequence_is_appended_once_however_often_it_is_sent(streams):
    counts = [await streams.append(3, "l:g", 7, [(None, b"a"), (None, b"b")]) for _ in range(3)]

    assert counts == [2, 0, 0]
    assert await frames(streams) == [b"a", b"b"]


async def test_an_older_sequence_is_refused(streams):
    await streams.append(3, "l:g", 7, [(None, b"new")])

    assert await streams.append(3, "l:g", 6, [(None, b"old")]) == 0
    assert (await streams.cursors("l:g"))[3] == 7


async def test_nothing_is_appended_when_the_server_lost_what_came_before(streams):
    await streams.append(3, "l:g", 7, [(None, b"a")])
    await streams._client.flushall()

    with pytest.raises(LostData):
        await streams.append(3, "l:g", 8, [(None, b"b")], after=7)
    assert await frames(streams) == []


async def test_another_generation_has_its_own_cursor(streams):
    await streams.append(3, "l:g1", 7, [(None, b"a")])

    assert await streams.append(3, "l:g2", 0, [(None, b"b")]) == 1


async def test_the_newest_revision_of_an_occupancy_is_kept(streams):
    await streams.append(3, "l:g", 1, [(CASE, b"first")])
    await streams.append(3, "l:g", 2, [(CASE, b"second"), (None, b"frame")])

    assert await streams.occupancies(3) == [b"second"]


async def test_seconds_of_a_case_rise_strictly_and_the_first_record_wins(streams):
    outcomes = [await streams.record(3, CASE, second, payload) for second, payload in ((5, b"a"), (5, b"b"), (4, b"c"), (6, b"d"))]
    entries = await streams.read({key(3, "predictions"): "0-0"}, block_ms=0)

    assert outcomes == [True, False, False, True]
    assert [entry.fields[b"r"] for entry in entries] == [b"a", b"d"]
    assert await streams.last_recorded(3) == {CASE: 6}


async def test_functions_are_loaded_again_when_the_server_lost_them(streams, redis_url):
    await streams._client.function_flush()

    assert await streams.append(3, "l:g", 1, [(None, b"a")]) == 1


async def test_an_idle_blocking_read_returns_empty_and_raises_nothing(streams):
    assert await streams.read({key(p, "frames"): "0-0" for p in range(PARTITIONS)}, block_ms=1500) == []


async def test_a_server_that_would_evict_data_is_refused(streams):
    await streams._client.config_set("maxmemory-policy", "allkeys-lru")

    with pytest.raises(UnsafeRedis, match="noeviction"):
        await streams.prepare()


async def test_a_stopped_server_is_redis_down(streams, valkey):
    valkey.stop()

    with pytest.raises(RedisDown):
        await streams.append(3, "l:g", 1, [(None, b"a")])


def test_the_partition_of_a_bed_never_changes():
    assert [partition_of(Bed("demo", f"OR {n}")) for n in range(1, 7)] == [0, 10, 12, 15, 9, 3]
