"""What a mapping file may say: its sections and rows. Pure.

Whether what it says can be right is `mapping_lint`'s to tell.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from anesthesia.signal import DRUGS, CodeStatus
from services.hl7_listener.code_set import Key, Row, RowKind
from services.hl7_listener.yaml_lines import Location

CODED: Final = (RowKind.RATE, RowKind.RESOLUTION, RowKind.DRUG_NAME, RowKind.PASSED_OVER)


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as fault:
        raise ValueError(f"no valid pattern: {fault}") from fault
    return text


def _triple(text: str) -> str:
    if text.count("^") != 2:  # noqa: PLR2004  code^name^system
        raise ValueError("must be code^NAME^system, as in 147842^MDC_ECG_HEART_RATE^MDC")
    return text


Triple = Annotated[str, AfterValidator(_triple)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Coded(_Part):
    """A row: OBX-3 and OBX-6 as they are sent, and what the value is multiplied with."""

    code: Triple = Field(description="OBX-3")
    unit: str = Field(default="", description="OBX-6")
    scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    offset: float = Field(default=0.0, allow_inf_nan=False)
    code_status: CodeStatus = CodeStatus.STANDARD

    @property
    def key(self) -> Key:
        """What of a message is looked up. A unit is matched whole: code, name and system of OBX-6."""
        code, name, system = self.code.split("^")
        return code, name, system, self.unit


class SignalRow(Coded):
    """A row that becomes a reading of one Signal."""

    signal: str
    channel: Annotated[str, AfterValidator(_pattern)] | None = Field(default=None, description="pattern of OBX-4")


class PumpRow(Coded):
    """A row that becomes a reading of the drug of its channel."""

    quantity: str
    drugs: tuple[str, ...] = ()

    @property
    def signals(self) -> tuple[str, ...]:
        """The Signals that it may become."""
        return tuple(f"{drug}_{self.quantity}" for drug in self.drugs or DRUGS)


class MappingFile(_Part):
    """A whole file."""

    about: str = Field(min_length=1)
    units: dict[Triple, str] = Field(description="OBX-6 -> UCUM")
    sentinels: tuple[float, ...] = ()
    numerics: tuple[SignalRow, ...] = ()
    waveforms: tuple[SignalRow, ...] = ()
    rate: tuple[Coded, ...] = ()
    resolution: tuple[Coded, ...] = ()
    drug_name: tuple[Coded, ...] = ()
    drug_in_order: bool = Field(default=False, description="OBR-4 names the drug of a channel without a name row")
    drugs: dict[str, str] = {}
    pump: tuple[PumpRow, ...] = ()
    passed_over: tuple[Coded, ...] = ()

    def entries(self) -> Iterator[tuple[Location, Coded, Row]]:
        """Yield each row with its place in the file and what it is for."""
        for section, kind in (("numerics", RowKind.NUMERIC), ("waveforms", RowKind.WAVEFORM)):
            for index, row in enumerate(getattr(self, section)):
                channel = re.compile(row.channel) if row.channel else None
                yield (section, index), row, _row(kind, row, row.signal, channel=channel)
        for index, pump in enumerate(self.pump):
            yield ("pump", index), pump, _row(RowKind.PUMP, pump, pump.quantity, drugs=frozenset(pump.drugs))
        for kind in CODED:
            for index, coded in enumerate(getattr(self, kind)):
                yield (kind.value, index), coded, _row(kind, coded)


def _row(
    kind: RowKind, row: Coded, signal: str = "", *, channel: re.Pattern[str] | None = None, drugs: frozenset[str] = frozenset()
) -> Row:
    return Row(kind, signal, row.scale, row.offset, channel, drugs, row.code_status)
