"""The loop of the ledger: stand by, lead, read, write, trim; through every outage of Redis or PostgreSQL."""

import asyncio
from collections.abc import Callable
from typing import Final, NoReturn

from backbone.clock import Clock
from backbone.database import DatabaseDown, upgrade
from backbone.redis.streams import FROM_START, PARTITIONS, Entry, RedisDown, Streams, key, moment_of
from backbone.telemetry import counter, gauge, logger
from services.ledger.book import Desk, Written, opened
from services.ledger.records import Batch, batch_of, oldest_kept
from services.ledger.settings import LedgerSettings

STREAM: Final = "predictions"
BLOCK_MS: Final = 1000
STANDBY_S: Final = 1.0
TRIM_EACH_S: Final = 10.0
FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 10.0

RECORDS = counter("ledger_records", "Records taken from the streams and committed", "outcome")
REPEATED = counter("ledger_repeated", "Records that stood in PostgreSQL already")
CONFLICTS = counter("ledger_conflicts", "Records whose second stood there with other bytes; the first one stays")
UNREADABLE = counter("ledger_unreadable", "Stream entries that do not decode, kept in the table unreadable")
OUTAGES = counter("ledger_outages", "Times that a peer did not answer", "target")
LEADING = gauge("ledger_leading", "1 while this process writes, 0 while it stands by")
LAG_S = gauge("ledger_lag_seconds", "Age of the newest entry of the last batch when it was written")


def pause_s(attempts: int) -> float:
    """Return how long to wait after so many failures in a row: doubling, at most ten seconds."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(attempts - 1, 10))


class Keeper:
    """The ledger's state between two batches: where it stands in each partition."""

    def __init__(self, streams: Streams, settings: LedgerSettings, clock: Clock, serving: Callable[[str], None]) -> None:
        """Take the connections; `serving` is told once, when the process leads or stands by."""
        self._streams, self._settings, self._clock, self._serving = streams, settings, clock, serving
        self._recorded: dict[int, str] = {}
        self._failures = 0
        self._trimmed_at_s = clock.monotonic_s()

    async def keep(self) -> NoReturn:
        """Lead whenever PostgreSQL allows it, for ever."""
        migrated = False
        while True:
            try:
                if not migrated:
                    await asyncio.to_thread(upgrade, self._settings.database_url)
                    migrated = True
                async with opened(self._settings.database_url, self._settings.deadline_s) as desk:
                    await self._stand_by(desk)
                    await self._lead(desk)
            except DatabaseDown as fault:
                LEADING.set(0)
                await self._pause("postgresql", fault)

    async def _stand_by(self, desk: Desk) -> None:
        while not await desk.ask(desk.book.lead):
            self._failures = 0
            self._serving("standing by")
            await asyncio.sleep(STANDBY_S)

    async def _lead(self, desk: Desk) -> NoReturn:
        self._recorded = await desk.ask(desk.book.positions)
        LEADING.set(1)
        logger().info("leading", partition=len(self._recorded))
        self._serving("leading")
        while True:
            try:
                await self._follow(desk, await self._starts())
            except RedisDown as fault:
                await self._pause("redis", fault)

    async def _starts(self) -> dict[str, str]:
        """Return where to read on; from the start where the stream ends before our position (Redis lost its tail)."""
        starts = {}
        for partition in range(PARTITIONS):
            position = self._recorded.get(partition, FROM_START)
            newest = await self._streams.last_id(STREAM, partition)
            if newest != FROM_START and moment_of(newest) < moment_of(position):
                logger().warning("stream_went_back", partition=partition)
                position = FROM_START
            starts[key(partition, STREAM)] = position
        return starts

    async def _follow(self, desk: Desk, after: dict[str, str]) -> NoReturn:
        while True:
            entries = await self._streams.read(after, block_ms=BLOCK_MS, count=self._settings.batch)
            if entries:
                batch = batch_of(entries)
                _tell(batch, await desk.ask(lambda batch=batch: desk.book.write(batch)), self._lag_s(entries))  # type: ignore[misc]
                after |= {key(partition, STREAM): entry_id for partition, entry_id in batch.positions.items()}
                self._recorded |= batch.positions
            self._failures = 0
            await self._trim()

    async def _trim(self) -> None:
        if self._clock.monotonic_s() - self._trimmed_at_s < TRIM_EACH_S:
            return
        self._trimmed_at_s = self._clock.monotonic_s()
        for partition, position in self._recorded.items():
            oldest = oldest_kept(position, now=self._clock.now(), keep_minutes=self._settings.keep_minutes)
            await self._streams.trim_before(STREAM, partition, oldest)

    def _lag_s(self, entries: list[Entry]) -> float:
        newest_ms = max(moment_of(entry.entry_id)[0] for entry in entries)
        return max(0.0, self._clock.now().timestamp() - newest_ms / 1000)

    async def _pause(self, target: str, fault: Exception) -> None:
        self._failures += 1
        OUTAGES.labels(target).inc()
        backoff_s = pause_s(self._failures)
        logger().warning("peer_down", target=target, error=str(fault), attempts=self._failures, backoff_s=backoff_s)
        await asyncio.sleep(backoff_s)


def _tell(batch: Batch, written: Written, lag_s: float) -> None:
    for row in batch.rows:
        RECORDS.labels(row["outcome"]).inc()
    REPEATED.inc(written.repeated)
    LAG_S.set(lag_s)
    for case_id, second in written.conflicts:
        CONFLICTS.inc()
        logger().error("record_conflict", case_id=str(case_id), second=second)
    for scrap in batch.scraps:
        UNREADABLE.inc()
        logger().error("unreadable_entry", partition=scrap["partition"], index=scrap["entry_id"], size=len(scrap["payload"]))
