"""What a row of `outbox` says, frozen as JSON when it is planned. Pure."""

from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from anesthesia.errors import BadValue
from backbone.ehr_tables import OutboxKind
from services.ehr_writer.summary import Leaves, Nothing, Summary, Withheld


@dataclass(frozen=True, slots=True)
class AuditSummary:
    """A closed case in numbers: seconds by outcome, minutes by what became of them, and the models as (name, digest).

    `leaves` are those of all its records, `checkpoint` is the signed note of the audit log as it stood when the case was counted.
    """

    first: int
    stop: int
    scored: int
    refused: int
    device_index: int
    written: int
    withheld: int
    amended: int
    failed: int
    models: tuple[tuple[str, str], ...]
    leaves: Leaves | None
    checkpoint: str


Content = Summary | Withheld | Nothing | AuditSummary

_KINDS: dict[type, OutboxKind] = {
    Summary: OutboxKind.SUMMARY,
    Withheld: OutboxKind.WITHHELD,
    Nothing: OutboxKind.PARTIAL,
    AuditSummary: OutboxKind.AUDIT,
}
_SUMMARY = TypeAdapter(Summary)
_WITHHELD = TypeAdapter(Withheld)
_AUDIT = TypeAdapter(AuditSummary)


def kind_of(content: Content) -> OutboxKind:
    """Return the kind of row that holds it."""
    return _KINDS[type(content)]


def frozen(content: Content) -> dict[str, Any]:
    """Return it as JSON values."""
    adapter: TypeAdapter[Any] = TypeAdapter(type(content))
    values: dict[str, Any] = adapter.dump_python(content, mode="json")
    return values


def thawed(kind: str, values: dict[str, Any]) -> Summary | Withheld | AuditSummary:
    """Return what `frozen` was given."""
    match kind:
        case OutboxKind.SUMMARY:
            return _SUMMARY.validate_python(values)
        case OutboxKind.WITHHELD:
            return _WITHHELD.validate_python(values)
        case OutboxKind.AUDIT:
            return _AUDIT.validate_python(values)
        case _:
            raise BadValue(f"outbox: a row of kind {kind} writes nothing")
