"""Journal to streams: each entry exactly once, in order, whatever dies.

The server's own cursor per partition says what it has. On connect, and whenever the server lost what was sent before (each append names
it), the entries above the cursors are sent again; the Redis Function refuses those that are there.
"""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from itertools import groupby
from typing import Final

from backbone.clock import Clock
from backbone.redis.streams import PARTITIONS, LostData, RedisDown, Streams
from backbone.telemetry import logger
from services.hl7_listener import metrics
from services.hl7_listener.journal import Journal
from services.hl7_listener.journal_reader import JournalReader, StoredEffect
from services.hl7_listener.telling import Teller

BATCH: Final = 256
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0
LOOK_EVERY_S: Final = 1.0
TRIM_EVERY_S: Final = 60.0
# The ledger trims what it has archived. Only when no ledger did for so long do we: then the live page comes before the archive.
WITHOUT_LEDGER: Final = timedelta(hours=8)


class Forwarder:
    """Sends what the journal commits to the streams."""

    def __init__(self, journal: Journal, streams: Streams, listener: str, teller: Teller, clock: Clock, keep: timedelta) -> None:
        """Forward a journal, and what the teller has to say; trim entries older than `keep`, and than a ledger may be away."""
        self._journal, self._streams, self._teller, self._clock = journal, streams, teller, clock
        self._keep = max(keep, WITHOUT_LEDGER)
        self._reader = JournalReader(journal.folder)
        self._field = f"{listener}:{journal.generation}"
        self._sent = dict.fromkeys(range(PARTITIONS), -1)  # newest sequence known to be in each partition
        self._position = -1  # all sequences up to here are in the streams
        self._trimmed_s = -TRIM_EVERY_S
        self._wake = asyncio.Event()
        journal.on_commit(self._wake.set)

    @property
    def position(self) -> int:
        """The sequence up to which the streams hold everything; -1 until the server's cursors are known."""
        return self._position

    async def forward(self) -> None:
        """Forward for ever; wait with growing pauses while the server does not answer."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await self._connect()
                pause_s = FIRST_PAUSE_S
                while True:
                    await self._round()
            except RedisDown as fault:
                metrics.FORWARDER_DOWN.set(1)
                metrics.FORWARDER_BEHIND.set(self._journal.committed - self._position)
                logger().warning("streams_down", error=str(fault), backoff_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _connect(self) -> None:
        await self._streams.prepare()
        await self._teller.begin(self._streams)
        await self._rewind(await self._streams.cursors(self._field))
        metrics.FORWARDER_DOWN.set(0)
        logger().info("forwarding", position=self._position)

    async def _rewind(self, cursors: dict[int, int]) -> None:
        """Send, per partition, what lies above its cursor, up to what is committed now."""
        until = self._journal.committed
        for partition, cursor in cursors.items():
            self._sent[partition] = cursor
            while batch := [e for e in await self._after(self._sent[partition], partition) if e.sequence <= until]:
                await self._send(batch)
        self._position = until

    async def _round(self) -> None:
        """Wait for a commit, then send what is new."""
        _stop_if_cancelled()
        if self._position >= self._journal.committed:
            self._wake.clear()
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._wake.wait()
            except TimeoutError:
                await self._check()
        until = self._journal.committed
        batch = [e for e in await self._after(self._position) if e.sequence <= until]
        try:
            await self._send(batch)
        except LostData:
            await self._check()
            return
        self._position = batch[-1].sequence if len(batch) >= BATCH else until
        metrics.FORWARDER_BEHIND.set(self._journal.committed - self._position)
        await self._teller.tell(self._streams)
        await self._trim()

    async def _check(self) -> None:
        """See whether the server still has what was sent to it; if not, send it again."""
        cursors = await self._streams.cursors(self._field)
        if any(cursors[partition] < sent for partition, sent in self._sent.items()):
            logger().warning("streams_lost_data", position=self._position)
            await self._rewind(cursors)

    async def _after(self, sequence: int, partition: int | None = None) -> list[StoredEffect]:
        return await asyncio.to_thread(self._reader.after, sequence, BATCH, partition)

    async def _send(self, effects: list[StoredEffect]) -> None:
        for sequence, partition, entries in _calls(effects):
            pairs = [(e.case_id, e.payload) for e in entries]
            await self._streams.append(partition, self._field, sequence, pairs, after=self._sent[partition])
            self._sent[partition] = sequence
            _stop_if_cancelled()

    async def _trim(self) -> None:
        """Once a minute, drop what is older than the streams keep."""
        now_s = self._clock.monotonic_s()
        if now_s - self._trimmed_s < TRIM_EVERY_S:
            return
        self._trimmed_s = now_s
        oldest_ms = int((self._clock.now() - self._keep).timestamp() * 1000)
        for partition in range(PARTITIONS):
            await self._streams.trim_before("frames", partition, f"{oldest_ms}-0")


def _stop_if_cancelled() -> None:
    """End a cancelled task. `asyncio.wait_for` inside the Redis client loses a cancellation that meets a reply (before Python 3.12)."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _calls(effects: list[StoredEffect]) -> Iterator[tuple[int, int, list[StoredEffect]]]:
    """Group effects into calls: all of one sequence for one partition in one."""
    for sequence, of_message in groupby(effects, key=lambda e: e.sequence):
        by_partition = sorted(of_message, key=lambda e: e.partition)
        for partition, entries in groupby(by_partition, key=lambda e: e.partition):
            yield sequence, partition, list(entries)
