"""Stream entries -> what one transaction writes. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypedDict
from uuid import UUID

from anesthesia.errors import BadWire
from anesthesia.prediction import Prediction, Record, Refusal
from backbone.redis.streams import Entry, moment_of
from backbone.wire import unpack_record

FIELD = b"r"


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

    partition: int
    entry_id: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction writes: rows, what was no record, and the position after it."""

    rows: list[Row] = field(default_factory=list)
    scraps: list[Scrap] = field(default_factory=list)
    positions: dict[int, str] = field(default_factory=dict)


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
            row["outcome"], row["tier"], row["caveats"] = "prediction", record.tier, list(record.caveats)
            row["value"], row["low"], row["high"] = record.value, record.low, record.high
        case Refusal():
            row["reason"] = record.reason
    return row


def _row_from(payload: bytes) -> Row:
    """Return the row of an entry's bytes; BadWire when they are no record that PostgreSQL can hold."""
    row = row_of(unpack_record(payload), payload)
    if any("\0" in text for text in (row["site"], row["bed"], row["model"] or "", row["model_digest"] or "")):
        raise BadWire("record: a NUL in a text")
    return row


def partition_in(stream_key: str) -> int:
    """Return the partition of a stream key `{pNN}:name`."""
    match = re.match(r"\{p(\d\d)\}:", stream_key)
    if match is None:
        raise BadWire("stream key: not of the form {pNN}:name")
    return int(match.group(1))


def batch_of(entries: Iterable[Entry]) -> Batch:
    """Return what to write for entries in stream order; one that does not decode costs nothing else."""
    batch = Batch()
    for entry in entries:
        partition = partition_in(entry.key)
        payload = entry.fields.get(FIELD, b"")
        try:
            batch.rows.append(_row_from(payload))
        except BadWire:
            batch.scraps.append(Scrap(partition=partition, entry_id=entry.entry_id, payload=payload))
        batch.positions[partition] = entry.entry_id
    return batch


def oldest_kept(position: str, *, now: datetime, keep_minutes: int) -> str:
    """Return the id below which entries may go: older than the time kept, and recorded."""
    horizon = (int(now.timestamp() * 1000) - keep_minutes * 60_000, 0)
    milliseconds, count = min(horizon, moment_of(position))
    return f"{max(milliseconds, 0)}-{count}"
