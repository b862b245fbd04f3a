"""Board and clocks as the journal keeps them: JSON texts, without identity in clear. Pure."""

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from anesthesia.occupancy import Occupancy
from anesthesia.reading import Bed, Frame
from backbone.wire import instant, microseconds, pack_entry, unpack_entry
from services.hl7_listener.board import BedState
from services.hl7_listener.device_time import Segment
from services.hl7_listener.record import Kept

BOARD: Final = "board"
CLOCK: Final = "clock"
TOLD: Final = "told"  # up to which sequence the audit log was told of moves that moved nobody


def _us(at: datetime | None) -> int | None:
    return None if at is None else microseconds(at)


def _at(us: int | None) -> datetime | None:
    return None if us is None else instant(us)


def kept_bed(bed: Bed, state: BedState) -> Kept:
    """Return a bed's state as it is kept."""
    packed = None if state.occupancy is None else base64.b64encode(pack_entry(state.occupancy)).decode()
    value = {"occupancy": packed, "last_data_us": _us(state.last_data), "last_end_us": _us(state.last_end)}
    return Kept(BOARD, bed.name, json.dumps(value))


def _occupancy_of(packed: str | None) -> Occupancy | None:
    entry: Frame | Occupancy | None = None if packed is None else unpack_entry(base64.b64decode(packed))
    return entry if isinstance(entry, Occupancy) else None


def beds_of(site: str, kept: Mapping[str, str]) -> dict[Bed, BedState]:
    """Return the states that were kept of a site's beds."""
    values = {name: json.loads(text) for name, text in kept.items()}
    return {
        Bed(site, name): BedState(_occupancy_of(v["occupancy"]), _at(v["last_data_us"]), _at(v["last_end_us"]))
        for name, v in values.items()
    }


def kept_clock(source: str, segment: Segment) -> Kept:
    """Return a source's clock as it is kept."""
    return Kept(CLOCK, source, json.dumps({"offset_s": segment.offset_s, "since_us": microseconds(segment.since)}))


def clocks_of(kept: Mapping[str, str]) -> dict[str, Segment]:
    """Return the clocks that were kept, by source."""
    values = {source: json.loads(text) for source, text in kept.items()}
    return {source: Segment(v["offset_s"], instant(v["since_us"])) for source, v in values.items()}
