"""Follows `frames` into the archives of the open cases: read, gather, seal, sync, then let the Book say so.

Files first, then one transaction with what they hold and the positions up to which they hold it. After a crash the positions say where
to read on, and what a file holds beyond its row is cut off: each entry stands in a case's archive exactly once.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final, NoReturn
from uuid import UUID

from anesthesia.errors import BadWire
from anesthesia.occupancy import Occupancy
from backbone.audit import StoredArchive
from backbone.clock import Clock
from backbone.database import DatabaseDown
from backbone.redis.streams import FROM_START, PARTITIONS, Entry, RedisDown, Streams, key, moment_of
from backbone.telemetry import counter, gauge, logger
from backbone.vault import BadKey, Seal
from backbone.wire import Heading, heading_of
from services.ledger.archive import LEAD_IN_S, Archive, Flush, as_known, closed, empty, instant_of_id
from services.ledger.archive_file import BadArchive, Erased, grown, new_wrapped, seal_of
from services.ledger.archive_folder import ArchiveFolder
from services.ledger.book import Desk
from services.ledger.records import FRAMES, Batch, occupancy_of, place_of
from services.ledger.settings import LedgerSettings

LOOK_EACH_S: Final = 1.0
PAGE: Final = 100  # entries of one stream, read at once: a few milliseconds, for which the records wait
PAUSE_S: Final = 5.0
MEGABYTE: Final = 1_000_000

ENTRIES = counter("archive_entries", "Stream entries written to the archives of cases")
BYTES = counter("archive_bytes", "Bytes written to the archives of cases")
DAMAGED = counter("archive_damaged", "Archives whose file is missing, cut or of another key when the ledger goes on with it")
GAPS = counter("archive_gaps", "Times that frames had left the streams before they were archived")
FAILURES = counter("archive_failures", "Times that the archive folder could not be written")
OPEN = gauge("archive_open_cases", "Cases whose archive is open")


class Archivist:
    """The archives' writer while this ledger leads; `keep` runs beside the records, `last` ends it."""

    def __init__(self, streams: Streams, settings: LedgerSettings, seal: Seal, clock: Clock, latency_s: float) -> None:
        """Take the connections; `seal` wraps the keys of cases, `latency_s` is the slowest source's."""
        self._streams, self._settings, self._seal, self._clock = streams, settings, seal, clock
        self._latency_s = latency_s
        self._folder = ArchiveFolder(settings.archive)
        self._archive = Archive(latency_s)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="archive")
        self._flushed_at_s = clock.monotonic_s()
        self._loaded = False
        self.positions: dict[int, str] = {}  # committed: what the streams may forget

    async def keep(self, desk: Desk) -> NoReturn:
        """Archive for ever; a folder that cannot be written, or a database that is away, costs nothing but time."""
        while True:
            try:
                await self._load(desk)
                while True:
                    await self._round(desk)
            except RedisDown as fault:  # what was read stays: the server may come back without it
                logger().warning("peer_down", target="redis", error=str(fault), backoff_s=PAUSE_S)
            except DatabaseDown:  # the ledger's own loop says so, and ends this one
                self._loaded = False
            except OSError as fault:
                self._loaded = False
                FAILURES.inc()
                logger().error("archive_failed", path=str(self._folder.path), error=str(fault), backoff_s=PAUSE_S)
            await asyncio.sleep(PAUSE_S)

    async def last(self, desk: Desk) -> None:
        """Write what waits, and let the folder go."""
        try:
            if self._loaded:
                await self._flush(desk, None)
        except (DatabaseDown, OSError) as fault:
            logger().warning("last_archive_missing", error=str(fault))
        finally:
            self._loaded = False
            self._folder.unlock()

    # ---- where to go on ------------------------------------------------------------------------------------------------------

    async def _load(self, desk: Desk) -> None:
        """Go on from what is committed; after an outage of Redis alone, from what was read."""
        if not self._loaded:
            self._folder.lock()
            self._archive = Archive(self._latency_s)
            stored = await desk.ask(desk.book.open_archives)
            self.positions = dict(stored.positions)
            self._archive.positions = {p: stored.positions.get(p, FROM_START) for p in range(PARTITIONS)}
            for one, end in stored.archives:
                self._go_on(one, end)
            self._loaded = True
        for partition in range(PARTITIONS):
            await self._check(partition)
            await self._meet(desk, partition)
        OPEN.set(self._archive.open_cases())

    async def _check(self, partition: int) -> None:
        """See whether the stream still joins on to what was read; the entry read last is never trimmed by us."""
        position = self._archive.positions[partition]
        oldest, newest = await self._streams.first_id(FRAMES, partition), await self._streams.last_id(FRAMES, partition)
        if FROM_START in {newest, position}:
            return
        if moment_of(newest) < moment_of(position):  # it lost its tail; all that it has was read, the rest is sent again
            logger().warning("stream_went_back", partition=partition)
            self._archive.positions[partition] = newest
        elif moment_of(oldest) > moment_of(position):
            GAPS.inc()
            logger().error("archive_gap", partition=partition, position=position)

    async def _meet(self, desk: Desk, partition: int) -> None:
        """Learn the Occupancies that there are; open the archives of those that have none and whose entries may lie behind us."""
        position = self._archive.positions[partition]
        at = self._instant_of(position)
        met = [one for payload in await self._streams.occupancies(partition) if (one := _occupancy(payload)) is not None]
        for occupancy in met:
            self._archive.know(occupancy)
        for occupancy in met:
            if self._archive.lacks(occupancy, at) and await desk.ask(lambda one=occupancy: desk.book.archive_of(one.case_id)) is None:  # type: ignore[misc]
                await self._begin(occupancy, partition, position)

    def _go_on(self, stored: StoredArchive, end: datetime | None) -> bool:
        """Take up an archive that is there; one that nobody can go on with is left as it is, and said."""
        try:
            self._archive.begin(stored, seal_of(self._seal, stored), end)
        except Erased:
            return False
        except BadKey as fault:
            DAMAGED.inc()
            logger().error("archive_damaged", case_id=str(stored.case_id), error=str(fault))
            return False
        return True

    # ---- reading -------------------------------------------------------------------------------------------------------------

    async def _round(self, desk: Desk) -> None:
        after = {key(partition, FRAMES): position for partition, position in self._archive.positions.items()}
        entries = await self._streams.read(after, block_ms=0, count=PAGE)
        for entry in entries:
            await self._take(desk, entry)
        late = self._clock.monotonic_s() - self._flushed_at_s >= self._settings.archive_each_s
        if late or self._archive.buffered >= self._settings.archive_buffer_mb * MEGABYTE:
            await self._flush(desk, None if entries else self._clock.now())
        if not entries:
            await asyncio.sleep(LOOK_EACH_S)

    async def _take(self, desk: Desk, entry: Entry) -> None:
        partition, _ = place_of(entry.key)
        heading = _heading(entry)
        if isinstance(heading, Occupancy) and self._archive.lacks(heading, instant_of_id(entry.entry_id)):
            await self._open(desk, heading, partition, entry.entry_id)
        if heading is not None:
            self._archive.take(entry, heading)
        self._archive.positions[partition] = entry.entry_id

    async def _open(self, desk: Desk, occupancy: Occupancy, partition: int, before: str) -> None:
        """Open the archive of a case that an entry announces; one that was closed goes on where it ended."""
        stored = await desk.ask(lambda: desk.book.archive_of(occupancy.case_id))
        if stored is None:
            await self._begin(occupancy, partition, before)
        elif self._go_on(closed(stored, None), occupancy.end):
            await self._fill(occupancy, partition, stored.last_entry or FROM_START, before)

    async def _begin(self, occupancy: Occupancy, partition: int, before: str) -> None:
        """Begin an archive with the Occupancies known at this place, and the bed's entries of the lead-in."""
        stored = empty(occupancy, partition, new_wrapped(self._seal, occupancy.case_id))
        beside = self._archive.beside(occupancy, self._instant_of(before))
        case = self._archive.begin(stored, seal_of(self._seal, stored), occupancy.end)
        for known in [*beside, as_known(occupancy)]:
            case.add(known)
        first_ms = max(0, moment_of(before)[0] - int(LEAD_IN_S * 1000))
        await self._fill(occupancy, partition, f"{first_ms}-0", before)

    async def _fill(self, occupancy: Occupancy, partition: int, first: str, before: str) -> None:
        """Read back what a case needs of entries that were read before it was known; all of it, or the case is not open."""
        if before == FROM_START:
            return
        try:
            async for page in self._streams.between(FRAMES, partition, first, before):
                for entry in page:
                    heading = _heading(entry)
                    if heading is not None and heading.bed == occupancy.bed:
                        self._archive.take_for(occupancy.case_id, entry, heading)
        except BaseException:
            self._archive.drop(occupancy.case_id)
            raise

    def _instant_of(self, position: str) -> datetime:
        """Return when the entry of a position came; now where none was read."""
        return self._clock.now() if position == FROM_START else instant_of_id(position)

    # ---- writing -------------------------------------------------------------------------------------------------------------

    async def _flush(self, desk: Desk, at: datetime | None) -> None:
        """Write what waits, then commit it with the positions; `at` is now when the streams are read to their ends."""
        flush = self._archive.flush(at)
        now = self._clock.now()
        self._flushed_at_s = self._clock.monotonic_s()
        if flush.positions == self.positions and not flush.chunks and not flush.closing:
            return
        written, damaged = await asyncio.get_running_loop().run_in_executor(self._pool, _written, self._folder, flush)
        for case_id in damaged:
            self._archive.drop(case_id)
        rows = self._archive.rows(written, flush.closing, now)
        batch = Batch(archives=rows, archive_positions=_known(flush.positions))
        await desk.ask(lambda: desk.book.write(batch, now))
        self._archive.flushed(rows)
        self._archive.forget(now)
        self.positions = flush.positions
        OPEN.set(self._archive.open_cases())


def _known(positions: dict[int, str]) -> dict[int, str]:
    return {partition: position for partition, position in positions.items() if position != FROM_START}


def _heading(entry: Entry) -> Heading | Occupancy | None:
    """Return whose an entry is; None for one that does not decode, which the scorer cannot take either."""
    payload = entry.fields.get(b"f", b"")
    try:
        heading = heading_of(payload)
        return occupancy_of(payload) if isinstance(heading, Occupancy) else heading
    except BadWire:
        return None


def _occupancy(payload: bytes) -> Occupancy | None:
    try:
        return occupancy_of(payload)
    except BadWire:
        return None


def _written(folder: ArchiveFolder, flush: Flush) -> tuple[list[StoredArchive], list[UUID]]:
    """Write the chunks to their files; return what the archives are then, and those whose file is not what it must be."""
    written, damaged = [], []
    for stored, seal, entries in flush.chunks:
        after, chunk = grown(stored, entries, seal)
        try:
            folder.append(stored, chunk)
        except BadArchive as fault:
            DAMAGED.inc()
            logger().error("archive_damaged", case_id=str(stored.case_id), error=str(fault))
            damaged.append(stored.case_id)
            continue
        ENTRIES.inc(len(entries))
        BYTES.inc(len(chunk))
        written.append(after)
    return written, damaged
