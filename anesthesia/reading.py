"""Readings: what one device message says of one bed.

A Reading is a Numeric or a Waveform (the same cut as IEEE 11073 and FHIR make); a Frame is all readings of one bed from one
message, as it stands in the journal and in the streams.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from math import isfinite
from typing import TYPE_CHECKING

from anesthesia.errors import BadValue, UnknownSignal
from anesthesia.signal import SIGNALS, Kind, Signal

if TYPE_CHECKING:  # most processes need the words here and never a sample: numpy is 12 to 17 MB and 0.1 s of each
    import numpy as np
    from numpy.typing import NDArray


class Status(StrEnum):
    """How far a value may be trusted, from OBX-8, OBX-11, the device's sentinels and the believable range."""

    VALID = "valid"
    QUESTIONABLE = "questionable"
    INVALID = "invalid"
    UNAVAILABLE = "unavailable"


class TimeSource(StrEnum):
    """Which field gave the time of a reading (HL7 v2 ch. 7; IHE DEV TF-2 appendix B.8)."""

    OBX_14 = "OBX-14"
    OBR_7 = "OBR-7"
    MSH_7 = "MSH-7"
    RECEIPT = "receipt"


def aware_utc(instant: datetime, what: str) -> datetime:
    """Return the instant in UTC; raise BadValue when it has no zone."""
    if instant.tzinfo is None:
        raise BadValue(f"{what}: an instant needs a zone")
    return instant.astimezone(UTC)


def _known(name: str, kind: Kind) -> Signal:
    signal = SIGNALS.get(name)
    if signal is None or signal.kind is not kind:
        raise UnknownSignal(f"{name!r} is not a {kind} signal of anesthesia.signal.SIGNALS")
    return signal


@dataclass(frozen=True, slots=True)
class Numeric:
    """One value of a Signal, in that Signal's unit, at one corrected instant. Without a trusted value `value` is None."""

    signal: str
    value: float | None
    observed_at: datetime
    status: Status = Status.VALID
    time_source: TimeSource = TimeSource.OBR_7

    def __post_init__(self) -> None:
        """Refuse a value that the Signal table does not allow to be valid."""
        signal = _known(self.signal, Kind.NUMERIC)
        aware_utc(self.observed_at, self.signal)
        if self.value is None:
            if self.status in {Status.VALID, Status.QUESTIONABLE}:
                raise BadValue(f"{self.signal}: a {self.status} reading needs a value")
        elif not isfinite(self.value):
            raise BadValue(f"{self.signal}: the value is not finite")
        elif self.status is Status.VALID and not signal.believes(self.value):
            raise BadValue(f"{self.signal}: outside the believable range {signal.believable} {signal.unit}")

    @property
    def usable(self) -> bool:
        """Tell whether the value may feed a rule or a model."""
        return self.value is not None and self.status is Status.VALID


@dataclass(frozen=True, slots=True)
class Waveform:
    """Evenly spaced samples of a Signal: value in the Signal's unit = samples * scale.

    `samples` is int16 of shape (n,); `start` is the corrected instant of the first sample; sample k lies at start + k / rate_hz.
    """

    signal: str
    start: datetime
    rate_hz: float
    samples: "NDArray[np.int16]"
    scale: float
    status: Status = Status.VALID
    time_source: TimeSource = TimeSource.OBR_7

    def __post_init__(self) -> None:
        """Refuse shapes, rates and scales that have no meaning."""
        _known(self.signal, Kind.WAVEFORM)
        aware_utc(self.start, self.signal)
        if self.samples.dtype != "int16" or self.samples.ndim != 1 or self.samples.size == 0:
            raise BadValue(f"{self.signal}: samples must be a non-empty int16 array of one dimension")
        if not (isfinite(self.rate_hz) and self.rate_hz > 0 and isfinite(self.scale) and self.scale > 0):
            raise BadValue(f"{self.signal}: rate_hz and scale must be positive")

    @property
    def end(self) -> datetime:
        """The instant after the last sample's part."""
        return self.start + timedelta(seconds=len(self.samples) / self.rate_hz)


Reading = Numeric | Waveform


@dataclass(frozen=True, slots=True)
class Bed:
    """A bed as the site file names it."""

    site: str
    name: str

    def __str__(self) -> str:
        """The one text form, used as the key of streams: `site|bed`."""
        return f"{self.site}|{self.name}"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a Frame stands in the journal: unique for ever, so that any record leads back to the bytes."""

    listener: str
    generation: str
    sequence: int
    index: int  # of this Frame among those of its message


@dataclass(frozen=True, slots=True)
class Frame:
    """All readings of one bed from one message."""

    bed: Bed
    source: str
    readings: tuple[Reading, ...]
    received_at: datetime
    origin: Origin
    mapping_digest: str = ""
    clock_offset_s: float = 0.0
    simulated: bool = False  # MSH-11 T or D, or a source that the site file marks as simulated
    interval_s: float = 1.0  # of this source's numerics, from the site file
    latency_s: float = 1.0  # source_latency of the site file

    def __post_init__(self) -> None:
        """Refuse a naive receipt."""
        aware_utc(self.received_at, "received_at")
