"""Which stream entries belong into which case's archive, from when to when. Pure: entries go in, what is to be written comes out.

A case's archive holds the entries of its bed, as the scorer took them: from LEAD_IN_S before its Occupancy was first seen (readings may
come before the ADT that opens the case) until nothing received can matter to it any more.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from anesthesia.occupancy import Occupancy
from anesthesia.reading import Bed
from backbone.audit import StoredArchive
from backbone.redis.streams import FROM_START, Entry, moment_of
from backbone.vault import Seal
from backbone.wire import Heading, pack_entry
from services.ledger.archive_file import UNNUMBERED, ArchivedEntry, archived, begun

LEAD_IN_S: Final = 720.0  # a bed without a case: the scorer keeps 93 + 300 s, and after a restart reads 93 + 600 s again
MARGIN_S: Final = 120.0  # after the end and the slowest source: a late second still waits for its deadline, a scorer for its restart
CLOSED_AFTER_S: Final = 600.0  # of waiting for what was received in time and came into the stream late
NEVER: Final = datetime.max.replace(tzinfo=UTC)


def instant_of_id(entry_id: str) -> datetime:
    """Return when an entry was appended, by the server's clock."""
    return datetime.fromtimestamp(moment_of(entry_id)[0] / 1000, UTC)


@dataclass
class OpenCase:
    """A case that still takes entries, with those that are not written yet."""

    stored: StoredArchive
    seal: Seal
    end: datetime | None
    last_entry: str
    buffer: list[ArchivedEntry] = field(default_factory=list)
    size: int = 0

    def add(self, entry: ArchivedEntry) -> None:
        """Take an entry into the buffer, unless the archive has it."""
        if entry.entry_id != FROM_START:
            if moment_of(entry.entry_id) <= moment_of(self.last_entry):
                return
            self.last_entry = entry.entry_id
        self.buffer.append(entry)
        self.size += len(entry.payload)


@dataclass(frozen=True, slots=True)
class Flush:
    """What is written at once: chunks of cases, cases that close, and the positions that hold with them."""

    chunks: tuple[tuple[StoredArchive, Seal, tuple[ArchivedEntry, ...]], ...]
    closing: tuple[UUID, ...]
    positions: dict[int, str]


class Archive:
    """The archives of all open cases, and how far each partition was read."""

    def __init__(self, latency_s: float) -> None:
        """Start with no case; `latency_s` is that of the slowest source."""
        self._after_end = timedelta(seconds=latency_s + MARGIN_S)
        self._cases: dict[UUID, OpenCase] = {}
        self._of_bed: dict[Bed, dict[UUID, OpenCase]] = {}
        self._known: dict[Bed, dict[UUID, Occupancy]] = {}
        self.positions: dict[int, str] = {}

    def open_cases(self) -> int:
        """Return how many archives are open."""
        return len(self._cases)

    @property
    def buffered(self) -> int:
        """The bytes that wait to be written."""
        return sum(case.size for case in self._cases.values())

    def know(self, occupancy: Occupancy) -> None:
        """Learn the newest revision of an Occupancy."""
        self._known.setdefault(occupancy.bed, {})[occupancy.case_id] = occupancy
        case = self._cases.get(occupancy.case_id)
        if case is not None:
            case.end = occupancy.end

    def lacks(self, occupancy: Occupancy, at: datetime) -> bool:
        """Tell whether an Occupancy begins a case, or goes on with one that was closed."""
        return occupancy.theatre and occupancy.case_id not in self._cases and not self._over(occupancy.end, at)

    def begin(self, stored: StoredArchive, seal: Seal, end: datetime | None) -> OpenCase:
        """Go on with an archive, from its last entry."""
        case = OpenCase(stored, seal, end, stored.last_entry or FROM_START)
        self._cases[stored.case_id] = case
        self._of_bed.setdefault(stored.bed, {})[stored.case_id] = case
        return case

    def beside(self, occupancy: Occupancy, at: datetime) -> list[ArchivedEntry]:
        """Return the other Occupancies of the bed that the case may meet: two patients in one bed are a doubt."""
        horizon = at - timedelta(seconds=LEAD_IN_S)
        others = [one for one in self._known.get(occupancy.bed, {}).values() if one.case_id != occupancy.case_id]
        return [as_known(one) for one in others if one.end is None or one.end > horizon]

    def take(self, entry: Entry, heading: Heading | Occupancy) -> None:
        """Take one entry, in stream order."""
        if isinstance(heading, Occupancy):
            self.know(heading)
        for case_id in self._of_bed.get(heading.bed, {}):
            self.take_for(case_id, entry, heading)

    def take_for(self, case_id: UUID, entry: Entry, heading: Heading | Occupancy) -> None:
        """Take one entry of its bed for one open case, unless it came too late to matter."""
        case = self._cases[case_id]
        own = isinstance(heading, Occupancy) and heading.case_id == case_id
        received_at = heading.received_at if isinstance(heading, Heading) else instant_of_id(entry.entry_id)
        if own or received_at <= self._until(case.end):
            case.add(archived(entry))

    def drop(self, case_id: UUID) -> None:
        """Let a case go: it is closed, or its file is not what it must be."""
        case = self._cases.pop(case_id)
        del self._of_bed[case.stored.bed][case_id]

    def flush(self, at: datetime | None) -> Flush:
        """Return what waits to be written; `at` is now when all streams are read to their ends, else no case closes."""
        chunks = tuple((case.stored, case.seal, tuple(case.buffer)) for case in self._cases.values() if case.buffer)
        closing = () if at is None else tuple(case_id for case_id, case in self._cases.items() if self._over(case.end, at))
        return Flush(chunks, closing, dict(self.positions))

    def rows(self, written: Iterable[StoredArchive], closing: Iterable[UUID], at: datetime) -> list[StoredArchive]:
        """Return what the table must say: the archives that were written, and those that close."""
        ends = {case_id for case_id in closing if case_id in self._cases}
        now = {case_id: self._cases[case_id].stored for case_id in ends} | {one.case_id: one for one in written}
        return [closed(one, at) if one.case_id in ends else one for one in now.values()]

    def flushed(self, written: Iterable[StoredArchive]) -> None:
        """Learn what was written and committed; closed cases go."""
        for stored in written:
            case = self._cases[stored.case_id]
            case.stored, case.buffer, case.size = stored, [], 0
            if stored.closed_at is not None:
                self.drop(stored.case_id)

    def forget(self, at: datetime) -> None:
        """Drop Occupancies that are over, so that memory stays bounded."""
        for bed, known in list(self._known.items()):
            left = {case_id: one for case_id, one in known.items() if case_id in self._cases or not self._over(one.end, at)}
            if left:
                self._known[bed] = left
            else:
                del self._known[bed]

    def _until(self, end: datetime | None) -> datetime:
        return NEVER if end is None else end + self._after_end

    def _over(self, end: datetime | None, at: datetime) -> bool:
        return end is not None and at > self._until(end) + timedelta(seconds=CLOSED_AFTER_S)


def as_known(occupancy: Occupancy) -> ArchivedEntry:
    """Return an Occupancy whose own entry lies further back: it stands before all others."""
    return ArchivedEntry(FROM_START, "", UNNUMBERED, 0, pack_entry(occupancy))


def empty(occupancy: Occupancy, partition: int, wrapped_key: bytes) -> StoredArchive:
    """Return the archive of a case before its first chunk."""
    case_id = occupancy.case_id
    return StoredArchive(case_id, partition, occupancy.bed, wrapped_key, 0, 0, 0, begun(case_id), "", "")


def closed(stored: StoredArchive, at: datetime | None) -> StoredArchive:
    """Return an archive as it is when its case closes; None: open again."""
    return replace(stored, closed_at=at)
