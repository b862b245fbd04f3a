"""A row put into the text of a mapping file, comments kept. Pure."""

import json
from collections.abc import Mapping

import yaml

from anesthesia.errors import SoporError
from services.hl7_listener.yaml_lines import last_line_of, loaded

Row = Mapping[str, str | float | list[str]]


class NoDraft(SoporError):
    """A file into which no row can be put this way."""


def with_unit(text: str, unit: str, ucum: str) -> str:
    """Return the file's text with one more unit of OBX-6."""
    return _with_line(text, "units", f"  {json.dumps(unit, ensure_ascii=False)}: {json.dumps(ucum, ensure_ascii=False)}")


def with_row(text: str, section: str, row: Row) -> str:
    """Return the file's text with one more row at the end of a section."""
    fields = ", ".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in row.items())
    return _with_line(text, section, f"  - {{ {fields} }}")


def _with_line(text: str, section: str, line: str) -> str:
    lines = text.splitlines()
    _, node = loaded(text.encode())
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    key, value = next(((key, value) for key, value in pairs if key.value == section), (None, None))
    if key is None or value is None:
        return "\n".join([*lines, "", f"{section}:", line, ""])
    if value.value and getattr(value, "flow_style", False):
        raise NoDraft(f"section {section!r} is written in one line; write it as a list of lines first, and give the whole file by --file")
    if not value.value:
        lines[key.start_mark.line] = f"{section}:"
        at = key.start_mark.line + 1
    else:
        at = last_line_of(value)
    return "\n".join([*lines[:at], line, *lines[at:], ""])
