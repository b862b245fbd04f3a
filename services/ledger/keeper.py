"""The loop of the ledger: stand by, lead, read, write, trim; through every outage of Redis or PostgreSQL."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from anesthesia.errors import BadWire
from backbone.clock import Clock
from backbone.database import DatabaseDown, upgrade
from backbone.lifecycle import ended
from backbone.redis.streams import FROM_START, PARTITIONS, Entry, RedisDown, Streams, key, moment_of
from backbone.telemetry import counter, gauge, logger
from services.ledger.archivist import Archivist
from services.ledger.book import Desk, Written, opened
from services.ledger.checkpoint import Keep
from services.ledger.records import EVENTS, FRAMES, PREDICTIONS, Batch, batch_of, occupancy_of, oldest_kept, place_of
from services.ledger.settings import LedgerSettings

STREAMS: Final = (PREDICTIONS, EVENTS)
BLOCK_MS: Final = 1000
STANDBY_S: Final = 1.0
TRIM_EACH_S: Final = 10.0
LOOK_EACH_S: Final = 1.0  # at Occupancies and audit_intake, which no stream announces
CHECKPOINT_EACH_S: Final = 60.0
CHECKPOINT_LEAVES: Final = 1000
FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 10.0
FRAMES_MINUTES: Final = 15  # at least: a scorer that starts, and an archive that begins, read twelve minutes back

RECORDS = counter("ledger_records", "Records taken from the streams and committed", "outcome")
REPEATED = counter("ledger_repeated", "Records that stood in PostgreSQL already")
CONFLICTS = counter("ledger_conflicts", "Records whose second stood there with other bytes; the first one stays")
UNREADABLE = counter("ledger_unreadable", "Stream entries that do not decode, kept in the table unreadable")
CHECKPOINTS = counter("ledger_checkpoints", "Checkpoints signed")
OUTAGES = counter("ledger_outages", "Times that a peer did not answer", "target")
LEADING = gauge("ledger_leading", "1 while this process writes, 0 while it stands by")
LAG_S = gauge("ledger_lag_seconds", "Age of the newest entry of the last batch when it was written")


def pause_s(attempts: int) -> float:
    """Return how long to wait after so many failures in a row: doubling, at most ten seconds."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(attempts - 1, 10))


@dataclass(frozen=True, slots=True)
class Beside:
    """What else the keeper is given: `serving` is told once, when the process leads or stands by; how long the site keeps `frames`."""

    serving: Callable[[str], None]
    frames_minutes: int


class Keeper:
    """The ledger's state between two batches: where it stands in each stream, and which Occupancies have their leaf."""

    def __init__(self, streams: Streams, settings: LedgerSettings, clock: Clock, archivist: Archivist, beside: Beside) -> None:
        """Take the connections, and who writes the archives while this process leads."""
        self._streams, self._settings, self._clock, self._archivist, self._beside = streams, settings, clock, archivist, beside
        self._keep = Keep(settings.keys)
        self._recorded: dict[str, str] = {}
        self._occupancies: set[bytes] = set()
        self._failures = 0
        self._trimmed_at_s = self._signed_at_s = self._looked_at_s = clock.monotonic_s()

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
            self._beside.serving("standing by")
            await asyncio.sleep(STANDBY_S)

    async def _lead(self, desk: Desk) -> NoReturn:
        self._recorded = await desk.ask(lambda: desk.book.take(self._keep))
        self._occupancies = set()
        LEADING.set(1)
        logger().info("leading", partition=len(self._recorded))
        self._beside.serving("leading")
        works = [asyncio.ensure_future(work) for work in (self._record(desk), self._archivist.keep(desk))]
        try:
            done, _ = await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
            raise next(fault for work in done if (fault := work.exception()) is not None)
        finally:
            await _to_its_end(self._finish(desk, works))

    async def _record(self, desk: Desk) -> NoReturn:
        await self._sign(desk)
        while True:
            try:
                await self._follow(desk, await self._starts())
            except RedisDown as fault:
                await self._pause("redis", fault)

    async def _finish(self, desk: Desk, works: "Sequence[asyncio.Future[NoReturn]]") -> None:
        """End the works, then write and sign what is left of them."""
        await ended(works)
        await self._archivist.last(desk)
        await self._sign_last(desk)

    async def _starts(self) -> dict[str, str]:
        """Return where to read on; from the start where the stream ends before our position (Redis lost its tail)."""
        starts = {}
        for partition in range(PARTITIONS):
            for stream in STREAMS:
                position = self._recorded.get(key(partition, stream), FROM_START)
                newest = await self._streams.last_id(stream, partition)
                if newest != FROM_START and moment_of(newest) < moment_of(position):
                    logger().warning("stream_went_back", partition=partition)
                    position = FROM_START
                starts[key(partition, stream)] = position
        return starts

    async def _follow(self, desk: Desk, after: dict[str, str]) -> NoReturn:
        while True:
            entries = await self._streams.read(after, block_ms=BLOCK_MS, count=self._settings.batch)
            batch = batch_of(entries)
            look = self._clock.monotonic_s() - self._looked_at_s >= LOOK_EACH_S
            found = await self._revised(batch) if look else None
            if entries or look:
                written = await desk.ask(lambda batch=batch: desk.book.write(batch, self._clock.now()))  # type: ignore[misc]
                _tell(batch, written)
                moved = {entry.key: entry.entry_id for entry in entries}
                after |= moved
                self._recorded |= moved
            if entries:
                LAG_S.set(self._lag_s(entries))
            if found is not None:
                self._occupancies, self._looked_at_s = found, self._clock.monotonic_s()
            self._failures = 0
            await self._sign_when_due(desk)
            await self._trim()

    async def _revised(self, batch: Batch) -> set[bytes]:
        """Add the Occupancies that were revised since the last look; return the bytes of all that there are."""
        found = {packed for partition in range(PARTITIONS) for packed in await self._streams.occupancies(partition)}
        for packed in sorted(found - self._occupancies):
            try:
                batch.occupancies.append((occupancy_of(packed), packed))
            except BadWire as fault:
                logger().error("unreadable_occupancy", error=str(fault), size=len(packed))
        return found

    async def _sign_when_due(self, desk: Desk) -> None:
        late = self._clock.monotonic_s() - self._signed_at_s >= CHECKPOINT_EACH_S
        if late or desk.book.never_signed() or desk.book.unsigned() >= CHECKPOINT_LEAVES:
            await self._sign(desk)

    async def _sign(self, desk: Desk) -> None:
        """Sign the head of the tree, unless its checkpoint is there."""
        self._signed_at_s = self._clock.monotonic_s()
        if desk.book.unsigned():
            await desk.ask(lambda: desk.book.sign(self._keep, self._clock.now()))
            CHECKPOINTS.inc()

    async def _sign_last(self, desk: Desk) -> None:
        """Sign when the process is told to stop; a lost session signs nothing, its successor does."""
        try:
            await self._sign(desk)
        except DatabaseDown as fault:
            logger().warning("last_checkpoint_missing", error=str(fault))

    async def _trim(self) -> None:
        if self._clock.monotonic_s() - self._trimmed_at_s < TRIM_EACH_S:
            return
        self._trimmed_at_s = self._clock.monotonic_s()
        for stream_key, position in self._recorded.items():
            partition, stream = place_of(stream_key)
            oldest = oldest_kept(position, now=self._clock.now(), keep_minutes=self._settings.keep_minutes)
            await self._streams.trim_before(stream, partition, oldest)
        frames_minutes = max(self._beside.frames_minutes, FRAMES_MINUTES)
        for partition, position in self._archivist.positions.items():
            oldest = oldest_kept(position, now=self._clock.now(), keep_minutes=frames_minutes)
            await self._streams.trim_before(FRAMES, partition, oldest)

    def _lag_s(self, entries: list[Entry]) -> float:
        newest_ms = max(moment_of(entry.entry_id)[0] for entry in entries)
        return max(0.0, self._clock.now().timestamp() - newest_ms / 1000)

    async def _pause(self, target: str, fault: Exception) -> None:
        self._failures += 1
        OUTAGES.labels(target).inc()
        backoff_s = pause_s(self._failures)
        logger().warning("peer_down", target=target, error=str(fault), attempts=self._failures, backoff_s=backoff_s)
        await asyncio.sleep(backoff_s)


async def _to_its_end(work: Coroutine[None, None, None]) -> None:
    """Wait for a work through every cancellation; its own deadlines end it."""
    task, cancelled = asyncio.ensure_future(work), False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    task.result()
    if cancelled:
        raise asyncio.CancelledError


def _tell(batch: Batch, written: Written) -> None:
    for row in batch.rows:
        RECORDS.labels(row["outcome"]).inc()
    REPEATED.inc(written.repeated)
    for case_id, second in written.conflicts:
        CONFLICTS.inc()
        logger().error("record_conflict", case_id=str(case_id), second=second)
    for scrap in batch.scraps:
        UNREADABLE.inc()
        logger().error("unreadable_entry", partition=scrap["partition"], index=scrap["entry_id"], size=len(scrap["payload"]))
