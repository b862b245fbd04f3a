"""What a mapping file says, ready for look-ups: the row of a code, or why there is none. Pure.

A row of a message matches a row here only when code, name, coding system and unit all agree (IHE DEV TF-2 appendix B.8): the number alone
lies, as a public simulator that sends EtCO2 under the number of SpO2. What differs in one of the four is a disagreement and never becomes a
value; what is not known at all is an unknown code. Both are counted and listed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from anesthesia.signal import CodeStatus

# They say nothing: 0 is the number of every private attribute, and some gateways send numbers without names.
NO_NUMBER: Final = frozenset({"", "0"})
NO_NAME: Final = frozenset({""})


# What of a foreign code may stand in clear: number or word, REFID, system and unit; nothing that could be a text or a name.
_CLEAR: Final = (
    re.compile(r"[A-Za-z0-9_./-]{1,32}"),
    re.compile(r"[A-Z0-9]+_[A-Za-z0-9_]{1,63}"),
    re.compile(r"[A-Za-z0-9_./-]{1,16}"),
    re.compile(r"[A-Za-z0-9_./%*^{}\[\]\u00b0\u00b5\u03bc-]{1,64}"),
)


class RowKind(StrEnum):
    """What a row is for."""

    NUMERIC = "numeric"
    WAVEFORM = "waveform"
    RATE = "rate"
    RESOLUTION = "resolution"
    DRUG_NAME = "drug_name"
    PUMP = "pump"
    PASSED_OVER = "passed_over"  # known, and not wanted


class Mismatch(StrEnum):
    """Why a row of a message became no reading."""

    UNKNOWN_CODE = "unknown_code"
    DISAGREEMENT = "disagreement"  # known by number or name, but not with this system, name, unit or value type
    UNKNOWN_DRUG = "unknown_drug"  # a pump row without a known drug name in its channel
    RATE_DISAGREEMENT = "rate_disagreement"
    NO_INTERVAL = "no_interval"  # a waveform without OBR-7 and OBR-8
    NO_RESOLUTION = "no_resolution"
    BAD_SAMPLES = "bad_samples"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a code set. `signal` is a Signal's name, for pump rows the quantity (`rate`, `volume` ...)."""

    kind: RowKind
    signal: str = ""
    scale: float = 1.0
    offset: float = 0.0
    channel: re.Pattern[str] | None = None
    drugs: frozenset[str] = frozenset()
    code_status: CodeStatus = CodeStatus.STANDARD


Key = tuple[str, str, str, str]  # code, name, system, unit


def clear(key: Key) -> Key:
    """Return a key as far as it is made of codes, for lists and the journal's clear columns; the rest is empty."""
    code, name, system, unit = (part if pattern.fullmatch(part) else "" for part, pattern in zip(key, _CLEAR, strict=True))
    return code, name, system, unit


@dataclass(frozen=True, slots=True)
class CodeSet:
    """A mapping file, ready for look-ups; `digest` is the SHA-256 of its bytes."""

    name: str
    digest: str
    rows: Mapping[Key, tuple[Row, ...]]
    drugs: Mapping[str, str] = field(default_factory=dict)  # name in lower case -> drug
    sentinels: frozenset[float] = frozenset()
    units: Mapping[str, str] = field(default_factory=dict)  # OBX-6 -> UCUM without annotation
    drug_in_order: bool = False  # OBR-4 names the drug of a channel without a name row
    numbers: frozenset[str] = field(init=False)
    names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        """Gather the numbers and names that are known."""
        object.__setattr__(self, "numbers", frozenset(key[0] for key in self.rows) - NO_NUMBER)
        object.__setattr__(self, "names", frozenset(key[1] for key in self.rows) - NO_NAME)

    def row_of(self, key: Key, channel: str, second_unit: str = "") -> Row | Mismatch:
        """Return the row of (code, name, system, unit) in an OBX-4 channel, or why there is none.

        `second_unit` is the alternate triple of OBX-6: where it is known, it has to be the same unit.
        """
        for row in self.rows.get(key, ()):
            if row.channel is None or row.channel.match(channel):
                return Mismatch.DISAGREEMENT if second_unit and self._differ(key[3], second_unit) else row
        known = key in self.rows or key[0] in self.numbers or key[1] in self.names
        return Mismatch.DISAGREEMENT if known else Mismatch.UNKNOWN_CODE

    def _differ(self, unit: str, other: str) -> bool:
        """Tell whether two units of OBX-6 are known, and not the same."""
        known, second = self.units.get(unit), self.units.get(other)
        return known is not None and second is not None and known != second

    def pump_row(self, rows_key: Key, drug: str) -> Row | None:
        """Return the pump row of a key that applies to a drug."""
        return next((row for row in self.rows[rows_key] if not row.drugs or drug in row.drugs), None)
