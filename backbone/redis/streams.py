"""The streams between the services: 16 partitions, each with its frames, cursors, open occupancies and records.

{pNN}:frames        entries `f` = StreamEntry bytes, `l` `s` `i` = cursor field, journal sequence, place in it; written by the listener's
                    forwarder only, trimmed by the ledger when it has archived them (by the forwarder only after hours without a ledger)
{pNN}:cursor        hash  listener:generation -> last journal sequence appended
{pNN}:occupancies   hash  case id -> newest revision of its Occupancy (StreamEntry bytes)
{pNN}:predictions   entries `r` = Record bytes; written by the scorer only, trimmed by the ledger only
{pNN}:recorded      hash  case id -> last recorded second
{pNN}:events        entries `e` = Event bytes (`anesthesia.leaf`); written by processes without PostgreSQL, trimmed by the ledger only
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID
from zlib import crc32

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from anesthesia.errors import SoporError
from anesthesia.reading import Bed

PARTITIONS: Final = 16
# A blocking read must end before the client's own socket timeout, which would kill and silently repeat it.
COMMAND_TIMEOUT_S: Final = 5.0
LONGEST_BLOCK_MS: Final = 2000
FUNCTIONS: Final = Path(__file__).with_name("functions.lua")
FROM_START: Final = "0-0"
NOTHING_BEFORE: Final = -1


class RedisDown(SoporError):
    """The server does not answer or refuses; try again after a pause. Nothing was lost: the journal holds it."""


class LostData(SoporError):
    """The server came back without entries that it had (a lost tail, FLUSHALL); the journal still holds them."""


class UnsafeRedis(SoporError):
    """The server's settings would lose data; says which and what to set."""


def partition_of(bed: Bed) -> int:
    """Return the partition (0 to 15) of a bed: CRC-32 of `site|bed`, for ever the same."""
    return crc32(str(bed).encode()) % PARTITIONS


def key(partition: int, name: str) -> str:
    """Return `{pNN}:name`; the braces keep a partition in one cluster slot."""
    return f"{{p{partition:02d}}}:{name}"


def moment_of(entry_id: str) -> tuple[int, int]:
    """Return an entry id as (milliseconds, count), which sort as the stream does."""
    milliseconds, _, count = entry_id.partition("-")
    return int(milliseconds), int(count or 0)


@dataclass(frozen=True, slots=True)
class Entry:
    """One stream entry: its key, its id, its fields."""

    key: str
    entry_id: str
    fields: Mapping[bytes, bytes]


def _entries(stream: str, found: Iterable[tuple[bytes, Mapping[bytes, bytes] | None]]) -> list[Entry]:
    """Return entries as redis-py gives them; one that was deleted meanwhile has no fields and is left out."""
    return [Entry(stream, entry_id.decode(), fields) for entry_id, fields in found if fields is not None]


class Streams:
    """Typed access to the streams. One object a process; make it with `connect`."""

    def __init__(self, client: "Redis[bytes] | Redis") -> None:  # type: ignore[type-arg]
        """Wrap a client; `connect` sets it up."""
        self._client: Any = client

    async def prepare(self) -> None:
        """Load the functions; raise UnsafeRedis when the server may evict data."""
        policy = await self._run(self._client.config_get("maxmemory-policy"))
        if policy.get("maxmemory-policy", "noeviction") != "noeviction":
            raise UnsafeRedis("redis: maxmemory-policy must be noeviction, else acknowledged data is deleted silently")
        await self._run(self._client.function_load(FUNCTIONS.read_text(encoding="utf-8"), replace=True))

    async def append(
        self, partition: int, cursor: str, sequence: int, entries: Iterable[tuple[UUID | None, bytes]], *, after: int = NOTHING_BEFORE
    ) -> int:
        """Append the entries of one journal sequence; `(case id, bytes)` for an Occupancy, `(None, bytes)` for a Frame.

        Returns how many were appended: 0 when this sequence was there already. Raises LostData when the partition does not hold
        sequence `after` any more; then nothing was appended.
        """
        keys = [key(partition, name) for name in ("frames", "cursor", "occupancies")]
        pairs = [part for case_id, payload in entries for part in ("" if case_id is None else str(case_id), payload)]
        appended = int(await self._call("sopor_append", keys, [cursor, sequence, after, *pairs]))
        if appended < 0:
            raise LostData(f"partition {partition} no longer holds sequence {after}; read the cursors and send again what is missing")
        return appended

    async def record(self, partition: int, case_id: UUID, second: int, payload: bytes) -> bool:
        """Record one expected second; False when this second, or a later one of the case, has its record."""
        keys = [key(partition, name) for name in ("predictions", "recorded")]
        return bool(await self._call("sopor_record", keys, [str(case_id), second, payload]))

    async def event(self, partition: int, payload: bytes) -> None:
        """Hand an event (`anesthesia.leaf.Event.encode()`) to the ledger; sent twice, it has two leaves."""
        await self._run(self._client.xadd(key(partition, "events"), {"e": payload}))

    async def cursors(self, cursor: str) -> dict[int, int]:
        """Return the last appended journal sequence of every partition (-1: none)."""
        pipeline = self._client.pipeline(transaction=False)
        for p in range(PARTITIONS):
            pipeline.hget(key(p, "cursor"), cursor)
        values = await self._run(pipeline.execute())
        return {p: -1 if value is None else int(value) for p, value in enumerate(values)}

    async def occupancies(self, partition: int) -> list[bytes]:
        """Return the newest revision of each Occupancy of a partition, as StreamEntry bytes."""
        found = await self._run(self._client.hgetall(key(partition, "occupancies")))
        return list(found.values())

    async def forget_case(self, partition: int, case_id: UUID) -> None:
        """Drop a case that ended long ago from the hashes, so that they stay bounded."""
        await self._run(self._client.hdel(key(partition, "occupancies"), str(case_id)))
        await self._run(self._client.hdel(key(partition, "recorded"), str(case_id)))

    async def last_recorded(self, partition: int) -> dict[UUID, int]:
        """Return the last recorded second of each case of a partition."""
        found = await self._run(self._client.hgetall(key(partition, "recorded")))
        return {UUID(case.decode()): int(second) for case, second in found.items()}

    async def first_id(self, name: str, partition: int) -> str:
        """Return the id of a stream's oldest entry (`0-0`: empty)."""
        found = await self._run(self._client.xrange(key(partition, name), count=1))
        return found[0][0].decode() if found else FROM_START

    async def last_id(self, name: str, partition: int) -> str:
        """Return the id of a stream's newest entry (`0-0`: empty)."""
        found = await self._run(self._client.xrevrange(key(partition, name), count=1))
        return found[0][0].decode() if found else FROM_START

    async def read(self, after: Mapping[str, str], *, block_ms: int, count: int = 500) -> list[Entry]:
        """Return entries newer than the id given for each stream key; wait at most `block_ms` (0: do not wait)."""
        block = min(block_ms, LONGEST_BLOCK_MS) or None
        reply = await self._run(self._client.xread(dict(after), count=count, block=block))
        return [entry for stream, entries in reply or () for entry in _entries(stream.decode(), entries)]

    async def between(self, name: str, partition: int, first: str, last: str, *, page: int = 500) -> AsyncIterator[list[Entry]]:
        """Yield pages of the entries from id `first` to id `last`, both included, oldest first."""
        stream, start = key(partition, name), first
        while found := await self._run(self._client.xrange(stream, start, last, count=page)):
            yield _entries(stream, found)
            start = "(" + found[-1][0].decode()

    async def backwards(self, name: str, partition: int, *, page: int = 500) -> AsyncIterator[Entry]:
        """Yield a stream's entries, newest first."""
        stream, end = key(partition, name), "+"
        while found := await self._run(self._client.xrevrange(stream, end, "-", count=page)):
            for entry in _entries(stream, found):
                yield entry
            end = "(" + found[-1][0].decode()

    async def trim_before(self, name: str, partition: int, entry_id: str) -> int:
        """Drop entries older than an id (approximately: whole nodes); return how many."""
        return int(await self._run(self._client.xtrim(key(partition, name), minid=entry_id, approximate=True)))

    async def length(self, name: str, partition: int) -> int:
        """Return the number of entries of a stream."""
        return int(await self._run(self._client.xlen(key(partition, name))))

    async def ping(self) -> None:
        """Raise RedisDown unless the server answers."""
        await self._run(self._client.ping())

    async def _call(self, function: str, keys: Sequence[str], arguments: Sequence[str | int | bytes]) -> Any:  # noqa: ANN401
        try:
            return await self._run(self._client.fcall(function, len(keys), *keys, *arguments))
        except RedisDown as fault:
            if "Function not found" not in str(fault.__cause__):
                raise
            # The server came back without its functions (a lost disk, FLUSHALL): load them and go on.
            await self.prepare()
            return await self._run(self._client.fcall(function, len(keys), *keys, *arguments))

    async def _run(self, reply: Any) -> Any:  # noqa: ANN401  redis-py types every reply as Any
        try:
            return await reply
        except ResponseError as fault:
            raise RedisDown(f"redis refused a command: {type(fault).__name__}") from fault
        except (RedisError, OSError) as fault:
            raise RedisDown(f"redis does not answer: {type(fault).__name__}") from fault


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Streams]:
    """Yield Streams on a server URL (`redis://host:port/0`, `unix:///path?db=0`); nothing is asked of the server yet."""
    client = Redis.from_url(url, protocol=2, socket_timeout=COMMAND_TIMEOUT_S, socket_connect_timeout=2.0, retry=Retry(NoBackoff(), 0))
    try:
        yield Streams(client)
    finally:
        await client.aclose()
