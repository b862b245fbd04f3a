"""Stream entries -> what one transaction writes. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypedDict
from uuid import UUID

from anesthesia.errors import BadWire
from anesthesia.leaf import event_of
from anesthesia.occupancy import Occupancy
from anesthesia.prediction import Prediction, Record, Refusal
from backbone.audit import StoredArchive
from backbone.redis.streams import Entry, moment_of
from backbone.wire import unpack_entry, unpack_record

FIELD = b"r"
PREDICTIONS = "predictions"
EVENTS = "events"
EVENT_FIELD = b"e"
FRAMES = "frames"


class Row(TypedDict):
    """A row of `records`, less the instant that PostgreSQL sets."""

    case_id: UUID
    second: int
    site: str
    bed: str
    simulated: bool
    outcome: str
    tier: str | None
    value: float | None
    low: float | None
    high: float | None
    reason: str | None
    caveats: list[str]
    model: str | None
    model_digest: str | None
    input_hash: bytes
    observed_until: datetime | None
    complete_at: datetime | None
    payload: bytes


class Scrap(TypedDict):
    """A row of `unreadable`."""

    stream: str
    partition: int
    entry_id: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction writes: rows, events as (source, bytes), revised Occupancies with their bytes, what was none of these.

    With them the positions after it, of `predictions`, `events` and (for the archives) `frames`, by partition; and what the archives
    of cases are, once their files hold it.
    """

    rows: list[Row] = field(default_factory=list)
    scraps: list[Scrap] = field(default_factory=list)
    positions: dict[int, str] = field(default_factory=dict)
    events: list[tuple[str, bytes]] = field(default_factory=list)
    event_positions: dict[int, str] = field(default_factory=dict)
    occupancies: list[tuple[Occupancy, bytes]] = field(default_factory=list)
    archives: list[StoredArchive] = field(default_factory=list)
    archive_positions: dict[int, str] = field(default_factory=dict)


def row_of(record: Record, payload: bytes) -> Row:
    """Return the row of a record; `payload` is its bytes as they came."""
    row = Row(
        case_id=record.of.case_id,
        second=record.of.second,
        site=record.of.bed.site,
        bed=record.of.bed.name,
        simulated=record.of.simulated,
        outcome="refusal",
        tier=None,
        value=None,
        low=None,
        high=None,
        reason=None,
        caveats=[],
        model=None if record.model is None else record.model.name,
        model_digest=None if record.model is None else record.model.digest,
        input_hash=record.evidence.input_hash,
        observed_until=record.evidence.observed_until,
        complete_at=record.evidence.complete_at,
        payload=payload,
    )
    match record:
        case Prediction():
            row["outcome"], row["tier"], row["caveats"] = "prediction", record.tier.value, [caveat.value for caveat in record.caveats]
            row["value"], row["low"], row["high"] = record.value, record.low, record.high
        case Refusal():
            row["reason"] = record.reason.value
    return row


def _row_from(payload: bytes) -> Row:
    """Return the row of an entry's bytes; BadWire when they are no record that PostgreSQL can hold."""
    row = row_of(unpack_record(payload), payload)
    if any("\0" in text for text in (row["site"], row["bed"], row["model"] or "", row["model_digest"] or "")):
        raise BadWire("record: a NUL in a text")
    return row


def place_of(stream_key: str) -> tuple[int, str]:
    """Return partition and name of a stream key `{pNN}:name`."""
    match = re.fullmatch(r"\{p(\d\d)\}:(\w+)", stream_key)
    if match is None:
        raise BadWire("stream key: not of the form {pNN}:name")
    return int(match.group(1)), match.group(2)


def batch_of(entries: Iterable[Entry]) -> Batch:
    """Return what to write for entries in stream order; one that does not decode costs nothing else."""
    batch = Batch()
    for entry in entries:
        partition, stream = place_of(entry.key)
        payload = entry.fields.get(EVENT_FIELD if stream == EVENTS else FIELD, b"")
        try:
            if stream == EVENTS:
                event_of(payload)
                batch.events.append((f"p{partition:02d}:{entry.entry_id}", payload))
            else:
                batch.rows.append(_row_from(payload))
        except BadWire:
            batch.scraps.append(Scrap(stream=stream, partition=partition, entry_id=entry.entry_id, payload=payload))
        (batch.event_positions if stream == EVENTS else batch.positions)[partition] = entry.entry_id
    return batch


def occupancy_of(packed: bytes) -> Occupancy:
    """Return the Occupancy of its bytes; BadWire when they are none that PostgreSQL can hold."""
    found = unpack_entry(packed)
    if not isinstance(found, Occupancy):
        raise BadWire("occupancies: an entry that is no Occupancy")
    if any("\0" in text for text in (found.bed.site, found.bed.name, found.pseudonym)):
        raise BadWire("occupancy: a NUL in a text")
    return found


def oldest_kept(position: str, *, now: datetime, keep_minutes: int) -> str:
    """Return the id below which entries may go: older than the time kept, and recorded."""
    horizon = (int(now.timestamp() * 1000) - keep_minutes * 60_000, 0)
    milliseconds, count = min(horizon, moment_of(position))
    return f"{max(milliseconds, 0)}-{count}"
