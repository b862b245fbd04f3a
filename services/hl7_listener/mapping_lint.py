"""What cannot be right in a mapping file, although it is well-formed: each fault with its place. Pure.

A wrong row does not fail, it puts a number where another belongs. So what can be told from the file alone is told before it is used.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from anesthesia.signal import DRUGS, SIGNALS, CodeStatus, Kind, Signal
from services.hl7_listener.code_set import NO_NAME, NO_NUMBER, Row, RowKind
from services.hl7_listener.conversion import conversion_of
from services.hl7_listener.mapping_file import Coded, MappingFile, PumpRow, SignalRow
from services.hl7_listener.yaml_lines import Location

Fault = tuple[Location, str]
Entry = tuple[Location, Coded, Row]

_KINDS: Final = {RowKind.NUMERIC: Kind.NUMERIC, RowKind.WAVEFORM: Kind.WAVEFORM, RowKind.PUMP: Kind.NUMERIC}
# Sub-rows of a waveform carry a rate, and how much one count is: in the unit of every waveform Signal.
_SUB_ROWS: Final = {
    RowKind.RATE: Signal("rate", "Hz", (0, 0), SIGNALS["eeg_1"].group),
    RowKind.RESOLUTION: SIGNALS["eeg_1"],
}
_WAVEFORMS: Final = "waveforms"
_MDC: Final = "MDC"
_STANDARD_SYSTEMS: Final = frozenset({_MDC, "LN", "SCT"})  # IEEE 11073-10101, LOINC, SNOMED CT as HL7 table 0396 names them
# IEEE 11073-10101: in each partition of 65,536 terms the numbers from 0xF000 on are for private use.
_PARTITION: Final = 0x10000
_PRIVATE: Final = 0xF000


def faults_of(file: MappingFile) -> Iterator[Fault]:
    """Yield each fault of a file: where, and what."""
    entries = list(file.entries())
    for where, coded, row in entries:
        yield from _signal_faults(file, where, coded, row)
        yield from _status_faults(where, coded)
    yield from _doubled(entries)
    yield from _two_meanings(entries)
    yield from _drug_faults(file)


def _drug_faults(file: MappingFile) -> Iterator[Fault]:
    seen: dict[str, str] = {}
    for label, drug in file.drugs.items():
        if drug not in DRUGS:
            yield ("drugs", label), f"{drug!r} is none of {', '.join(DRUGS)}"
        if seen.setdefault(label.lower(), drug) != drug:
            yield ("drugs", label), f"{label!r} is {seen[label.lower()]} in another line: capital letters make no difference"


def _signal_faults(file: MappingFile, where: Location, coded: Coded, row: Row) -> Iterator[Fault]:
    """Yield what is wrong with Signal, unit and conversion of one row."""
    if row.kind in _SUB_ROWS:
        yield from _unit_faults(file, where, coded, _SUB_ROWS[row.kind])
        return
    kind = _KINDS.get(row.kind)
    if kind is None:
        if coded.scale != 1.0 or coded.offset != 0.0:
            yield where, f"{row.kind} becomes no value: it has neither scale nor offset"
        return
    if isinstance(coded, PumpRow) and (unknown := sorted(set(coded.drugs) - set(DRUGS))):
        yield (*where, "drugs"), f"{unknown[0]!r} is none of {', '.join(DRUGS)}"
        return
    for name in _signals(coded):
        signal = SIGNALS.get(name)
        if signal is None or signal.kind is not kind:
            yield where, f"{name!r} is no {kind} signal"
            return
        faults = list(_unit_faults(file, where, coded, signal))
        yield from faults
        if faults:
            return


def _signals(coded: Coded) -> tuple[str, ...]:
    match coded:
        case SignalRow():
            return (coded.signal,)
        case PumpRow():
            return coded.signals
        case _:
            return ()


def _unit_faults(file: MappingFile, where: Location, coded: Coded, signal: Signal) -> Iterator[Fault]:
    if coded.unit not in file.units:
        yield (*where, "unit"), f"unit {coded.unit!r} does not stand under units"
        return
    ucum = file.units[coded.unit]
    conversion = conversion_of(ucum, signal)
    if conversion is None:
        yield (*where, "unit"), f"{ucum} is not convertible to {signal.unit} ({signal.name})"
    elif where[0] == _WAVEFORMS:
        if coded.scale != 1.0 or coded.offset != 0.0:
            yield where, "a count becomes a value by the row of its resolution, which converts: no scale or offset here"
    elif not conversion.is_done_by(coded.scale, coded.offset):
        yield where, f"{ucum} is not {signal.unit} ({signal.name}) by this scale and offset; it takes {conversion}"


def _status_faults(where: Location, coded: Coded) -> Iterator[Fault]:
    """A code of no standard has to say so: who reads the row must not take it for one that means the same everywhere."""
    if is_private(coded) and coded.code_status is CodeStatus.STANDARD:
        yield where, f"{coded.code} is a code of no standard: give code_status: vendor (its maker's) or local (made here)"


def is_private(coded: Coded) -> bool:
    """Tell whether a code is of no standard: a maker's system or none, or of MDC's range for private use."""
    number, _, system, _ = coded.key
    return system not in _STANDARD_SYSTEMS or (system == _MDC and number.isdecimal() and int(number) % _PARTITION >= _PRIVATE)


def _doubled(entries: list[Entry]) -> Iterator[Fault]:
    """Yield rows that could take what another row takes."""
    seen: dict[object, list[Row]] = defaultdict(list)
    for where, coded, row in entries:
        if any(_clash(row, other) for other in seen[coded.key]):
            yield where, f"{coded.code} with this unit stands twice"
        seen[coded.key].append(row)


def _clash(one: Row, other: Row) -> bool:
    """Tell whether two rows of one key could both take the same row of a message."""
    if one.kind is RowKind.PUMP and other.kind is RowKind.PUMP:
        return not one.drugs or not other.drugs or bool(one.drugs & other.drugs)
    return one.channel is None or other.channel is None or one.channel.pattern == other.channel.pattern


def _two_meanings(entries: list[Entry]) -> Iterator[Fault]:
    """Yield rows by which one number, or one name, would mean two things: one of them is surely wrong."""
    by_number: dict[tuple[str, str], Entry] = {}
    by_name: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        where, coded, _ = entry
        number, name, system, _ = coded.key
        for word, seen, ignored in ((number, by_number, NO_NUMBER), (name, by_name, NO_NAME)):
            if word in ignored:
                continue
            first = seen.setdefault((word, system), entry)
            if not _agree(first, entry):
                yield where, f"{word} of {system or 'no system'} means {_meaning(first[2])} in another row, and here {_meaning(entry[2])}"


def _agree(one: Entry, other: Entry) -> bool:
    """Tell whether two rows of one number or name may stand beside each other."""
    same_code = one[1].code == other[1].code
    passed_over = RowKind.PASSED_OVER in {one[2].kind, other[2].kind}
    told_apart = one[2].channel is not None and other[2].channel is not None
    return _meaning(one[2]) == _meaning(other[2]) or (same_code and (passed_over or told_apart))


def _meaning(row: Row) -> str:
    return row.signal or row.kind
