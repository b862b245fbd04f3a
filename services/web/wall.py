"""What the wall says of each room: Records folded into one view a bed. Pure.

A view carries two instants of its own: `data_ms`, from which the age of its data counts, and `expires_ms`, after which the page
shows NO DATA in its place, whatever else it hears. Both come from the evidence, never from the arrival of a message.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import ceil, floor, isfinite
from typing import Final

from anesthesia.prediction import (
    CAVEAT_IN_WORDS,
    IN_WORDS,
    DeviceIndex,
    Evidence,
    Prediction,
    Record,
    Refusal,
    RefusalReason,
    Tier,
    state_of,
)
from anesthesia.reading import Bed
from services.web.words import SUPPRESSED, device_in_words

# A suppression ratio from here on stands in the place of a network number (clinical rules, section 4.1).
SUPPRESSION_FROM_PERCENT: Final = 10.0
# No declared bound makes a room current for longer than this.
LONGEST_BOUND_S: Final = 600.0
# How long a Refusal without any number may stand when its feed declares no bound.
LEAST_SILENCE_S: Final = 10.0


class Kind(StrEnum):
    """What a room shows. Closed list; the page has one form for each."""

    EMPTY = "empty"  # no record yet
    INDEX = "index"  # tier E: our number with its interval
    DEVICE = "device"  # tier D: the device's own value
    SUPPRESSED = "suppressed"  # suppression in the place of a number
    REFUSAL = "refusal"  # no number, the reason in words


@dataclass(frozen=True, slots=True)
class DeviceValue:
    """A device's own index: its name, its value as an integer, and when the device observed it."""

    name: str
    value: int
    observed_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomView:
    """One room as the page draws it. Instants are milliseconds since 1970 UTC."""

    bed: str
    kind: Kind
    tier: str = ""
    simulated: bool = False
    second: int = 0
    value: int | None = None
    low: int | None = None
    high: int | None = None
    state: str = ""
    words: str = ""
    caveats: tuple[str, ...] = ()
    suppression: int | None = None
    device: DeviceValue | None = None
    withheld: int | None = None
    data_ms: int | None = None
    expires_ms: int = 0
    interval_s: float = 1.0


Point = tuple[int, str, int, int, int]  # second, tier, value, low, high: one scored second of the trend


def milliseconds(instant: datetime) -> int:
    """Return an instant as milliseconds since 1970 UTC, rounded down: data is never younger than it is."""
    return floor(instant.timestamp() * 1000)


def shown(value: float) -> int:
    """Return the integer that stands for a value: the nearest one that has the same state word."""
    nearest = floor(value + 0.5)
    return nearest if state_of(nearest) is state_of(value) else floor(value)


def _earliest(*instants: datetime | None) -> int | None:
    known = [milliseconds(instant) for instant in instants if instant is not None]
    return min(known) if len(known) == len(instants) else None


def _bound_ms(evidence: Evidence) -> int:
    bound = evidence.bound_s
    return floor(min(bound, LONGEST_BOUND_S) * 1000) if isfinite(bound) and bound > 0 else 0


def _device(index: DeviceIndex | None) -> DeviceValue | None:
    if index is None:
        return None
    return DeviceValue(device_in_words(index.signal), shown(index.value), milliseconds(index.observed_at))


def _suppression(ratio: float | None) -> int | None:
    return floor(ratio) if ratio is not None and ratio >= SUPPRESSION_FROM_PERCENT else None


def _view_of_prediction(record: Prediction) -> RoomView:
    evidence, index = record.evidence, record.device_index
    device = record.tier is Tier.D
    data_ms = _earliest(evidence.observed_until, index.observed_at) if device and index else _earliest(evidence.observed_until)
    suppression = _suppression(record.suppression_ratio)
    kind = Kind.DEVICE if device else Kind.SUPPRESSED if suppression is not None else Kind.INDEX
    return RoomView(
        bed=record.of.bed.name,
        kind=kind,
        tier=record.tier,
        simulated=record.of.simulated,
        second=record.of.second,
        value=shown(record.value) if kind is Kind.INDEX else None,
        low=floor(record.low) if kind is Kind.INDEX else None,
        high=ceil(record.high) if kind is Kind.INDEX else None,
        state={Kind.INDEX: str(record.state), Kind.SUPPRESSED: SUPPRESSED}.get(kind, ""),
        words=IN_WORDS[record.instead_of_e] if record.instead_of_e else "",
        caveats=tuple(CAVEAT_IN_WORDS[caveat] for caveat in record.caveats),
        suppression=suppression,
        device=_device(index) if device else None,
        data_ms=data_ms,
        expires_ms=0 if data_ms is None else data_ms + _bound_ms(evidence),
        interval_s=evidence.interval_s,
    )


def _view_of_refusal(record: Refusal, recorded_ms: int) -> RoomView:
    evidence = record.evidence
    conflict = record.reason is RefusalReason.CONFLICT_WITH_DEVICE
    suppression = _suppression(record.suppression_ratio)
    silence_ms = max(_bound_ms(evidence), floor(LEAST_SILENCE_S * 1000))
    expires_ms = recorded_ms + silence_ms
    index = record.device_index if conflict else None
    if index is not None or (conflict and record.withheld_value is not None) or suppression is not None:
        # Numbers stand beside these words, and numbers are as old as what they rest on.
        oldest = _earliest(evidence.observed_until, *([index.observed_at] if index else []))
        expires_ms = 0 if oldest is None else min(expires_ms, oldest + _bound_ms(evidence))
    return RoomView(
        bed=record.of.bed.name,
        kind=Kind.SUPPRESSED if suppression is not None else Kind.REFUSAL,
        simulated=record.of.simulated,
        second=record.of.second,
        state=SUPPRESSED if suppression is not None else "",
        words=IN_WORDS[record.reason],
        suppression=suppression,
        device=_device(index),
        withheld=shown(record.withheld_value) if conflict and record.withheld_value is not None else None,
        data_ms=_earliest(evidence.observed_until),
        expires_ms=expires_ms,
        interval_s=evidence.interval_s,
    )


def view_of(record: Record, recorded_ms: int) -> RoomView:
    """Return the view of a record that stands in the stream since `recorded_ms`."""
    match record:
        case Prediction(tier=Tier.P):
            # Expected drug effect is never called depth, and the wall shows depth only.
            refused = Refusal(record.of, RefusalReason.NO_EEG, record.evidence, record.model)
            return _view_of_refusal(refused, recorded_ms)
        case Prediction():
            return _view_of_prediction(record)
        case Refusal():
            return _view_of_refusal(record, recorded_ms)


def point_of(record: Record) -> Point | None:
    """Return the trend's point of a record; None where no number may be drawn."""
    if not isinstance(record, Prediction) or record.tier is Tier.P:
        return None
    if record.tier is Tier.E and _suppression(record.suppression_ratio) is not None:
        return None
    return record.of.second, record.tier, shown(record.value), floor(record.low), ceil(record.high)


class Wall:
    """The newest view of every bed of a site, in the order of the site file."""

    def __init__(self, beds: tuple[Bed, ...]) -> None:
        """Start with rooms of which nothing was heard."""
        self._views = {bed: RoomView(bed=bed.name, kind=Kind.EMPTY) for bed in beds}

    @property
    def views(self) -> tuple[RoomView, ...]:
        """Every room."""
        return tuple(self._views.values())

    def knows(self, bed: Bed) -> bool:
        """Tell whether the site file has this bed."""
        return bed in self._views

    def fold(self, record: Record, recorded_ms: int) -> RoomView | None:
        """Take a record in; return the bed's new view, or None when the record is older than what is shown, or of elsewhere."""
        now = self._views.get(record.of.bed)
        if now is None or (now.kind is not Kind.EMPTY and record.of.second < now.second):
            return None
        view = view_of(record, recorded_ms)
        self._views[record.of.bed] = view
        return view
