"""The streams: how many entries they hold of what the journal sent, and whether any of it, or any record, stands there twice."""

import asyncio
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class InStreams:
    """The account: distinct entries of `frames`, how many of them and of the records stand there more than once."""

    entries: int
    doubled_entries: int
    doubled_records: int


def doubled(counted: Counter[Hashable]) -> int:
    """Return how many are one too many. Pure."""
    return counted.total() - len(counted)


async def _read(url: str) -> InStreams:
    from backbone.redis.streams import FROM_START, PARTITIONS, connect, key

    # Listener with its generation, journal sequence, place in the sequence: what the forwarder sends once. Case and second: one record.
    named = {"frames": (b"l", b"s", b"i"), "predictions": (b"c", b"t")}
    seen: dict[str, Counter[Hashable]] = {name: Counter() for name in named}
    async with connect(url) as streams:
        for partition in range(PARTITIONS):
            for name, fields in named.items():
                place, after = key(partition, name), FROM_START
                while page := await streams.read({place: after}, block_ms=0, count=PAGE):
                    seen[name].update((partition, *(entry.fields[field] for field in fields)) for entry in page)
                    after = page[-1].entry_id
    return InStreams(len(seen["frames"]), doubled(seen["frames"]), doubled(seen["predictions"]))


def read_streams(url: str) -> InStreams | None:
    """Return the account; None when the server does not answer. What was trimmed by age is not in it."""
    from backbone.redis.streams import RedisDown

    try:
        return asyncio.run(_read(url))
    except RedisDown:
        return None
