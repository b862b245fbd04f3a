"""A mapping file (`deploy/mappings/<name>.yaml`): bytes to a code set, or every fault with file and line.

What it may say is in `mapping_file`, whether that can be right in `mapping_lint`, what is asked of it while messages come in `code_set`.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import yaml
from pydantic import ValidationError

from anesthesia.errors import SoporError
from services.hl7_listener.code_set import CodeSet, Key, Row
from services.hl7_listener.conversion import plain
from services.hl7_listener.mapping_file import MappingFile
from services.hl7_listener.mapping_lint import Fault, faults_of
from services.hl7_listener.yaml_lines import Location, doubled_keys, line_of, loaded

_CALLED = ("signal", "quantity", "code")  # what a row is called in the text of a fault


class BadMapping(SoporError):
    """A mapping file that cannot be used; the text names the file, the line, the row and what is wrong."""


def parse_mapping(data: bytes, name: str) -> CodeSet:
    """Return the code set of a mapping file's bytes; BadMapping lists each fault as `name:line: row: what`."""
    file = file_of(data, name)
    rows: dict[Key, tuple[Row, ...]] = {}
    for _, coded, row in file.entries():
        rows[coded.key] = (*rows.get(coded.key, ()), row)
    return CodeSet(
        name=name,
        digest=hashlib.sha256(data).hexdigest(),
        rows=rows,
        drugs={label.lower(): drug for label, drug in file.drugs.items()},
        sentinels=frozenset(file.sentinels),
        units={unit: plain(ucum) for unit, ucum in file.units.items()},
        drug_in_order=file.drug_in_order,
    )


def file_of(data: bytes, name: str) -> MappingFile:
    """Return what a mapping file's bytes say, checked; BadMapping as above."""
    try:
        raw, node = loaded(data)
    except yaml.YAMLError as fault:
        raise BadMapping(f"{name}:{_line_of(fault)}: no valid YAML: {getattr(fault, 'problem', None) or fault}") from fault
    doubled = [f"{name}:{line}: {key!r} stands twice; only the last would count" for line, key in doubled_keys(node)]

    def told(found: Iterable[Fault]) -> str:
        return "\n".join(doubled + [f"{name}:{line_of(node, where)}: {_place(raw, where)}: {text}" for where, text in found])

    try:
        file = MappingFile.model_validate(raw)
    except ValidationError as fault:
        raise BadMapping(told((error["loc"], error["msg"]) for error in fault.errors())) from fault
    if faults := told(faults_of(file)):
        raise BadMapping(faults)
    return file


def read_mapping(folder: Path, name: str) -> CodeSet:
    """Read `<folder>/<name>.yaml`."""
    path = folder / f"{name}.yaml"
    return parse_mapping(bytes_of(path), path.name)


def bytes_of(path: Path) -> bytes:
    """Return a mapping file's bytes; BadMapping when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as fault:
        raise BadMapping(f"{path}: {fault.strerror}; the site file's sources name their mapping, without .yaml") from fault


def _line_of(fault: yaml.YAMLError) -> int:
    mark = getattr(fault, "problem_mark", None)
    return 1 if mark is None else int(mark.line) + 1


def _place(raw: object, location: Location) -> str:
    """Return `section row n (signal): key`, as far as there is one."""
    if len(location) < 2 or not isinstance(location[1], int):  # noqa: PLR2004  section and row
        return ".".join(str(part) for part in location) or "file"
    section, index, *keys = location
    row = raw[section][index] if isinstance(raw, dict) else None
    called = next((str(row[key]) for key in _CALLED if isinstance(row, dict) and key in row), "?")
    return ": ".join([f"{section} row {location[1] + 1} ({called})", *([".".join(str(key) for key in keys)] if keys else [])])
