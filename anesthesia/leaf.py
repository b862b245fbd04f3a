"""What stands in a leaf of the audit log: canonical JSON, and the events that other processes hand to the ledger. Pure.

The bytes are those of RFC 8785 for what is allowed here: objects with ASCII names, texts, integers that every JSON reader holds, and
true or false. No float: two programs may write it differently.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from anesthesia.errors import BadValue, BadWire
from anesthesia.reading import aware_utc

Scalar = str | int | bool

LARGEST_INTEGER: Final = 2**53 - 1  # RFC 8785 section 3.2.2.3: beyond it readers differ
LONGEST_EVENT: Final = 4096
RESERVED: Final = frozenset({"kind", "at", "actor", "case_id"})
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_encode: Final = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def canonical(entry: Mapping[str, Any]) -> bytes:
    """Return the one spelling of an entry; its values are texts, integers, booleans and objects of these."""
    try:
        return _encode(entry).encode()
    except (TypeError, ValueError) as fault:
        raise BadValue("leaf: a value that JSON cannot hold") from fault


def moment(at: datetime) -> str:
    """Return an instant as leaves spell it: ISO 8601, UTC, microseconds."""
    return aware_utc(at, "leaf").isoformat(timespec="microseconds")


def _named(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def _scalar(value: object) -> bool:
    if isinstance(value, int):
        return abs(value) <= LARGEST_INTEGER
    return isinstance(value, str) and "\0" not in value


class EventKind(StrEnum):
    """What has an event of its own. Closed for who writes; a reader takes any name, as logs outlive releases."""

    LISTENER_STARTED = "listener_started"  # with which mappings
    MAPPING_APPROVED = "mapping_approved"  # by somebody who did not write it
    MAPPING_LOADED = "mapping_loaded"  # by a running listener
    ADT_NOT_APPLIED = "adt_not_applied"  # a move of a patient that moved nobody: refused, of an unknown bed, or by a doubtful clock
    WALL_OPENED = "wall_opened"
    HISTORY_VIEWED = "history_viewed"  # of one room
    IDENTITY_OPENED = "identity_opened"  # the seal, to find the Patient at an EHR
    RESOURCE_WRITTEN = "resource_written"  # an EHR has an Observation
    RESOURCE_HELD = "resource_held"  # waits for people
    RESOURCE_GIVEN_UP = "resource_given_up"  # refused for good, or failed too often
    RESOURCE_SHOWN = "resource_shown"  # read back from an EHR by a person
    AUDIT_SHOWN = "audit_shown"
    AUDIT_EXPORTED = "audit_exported"
    ARCHIVE_CLOSED = "archive_closed"  # the inputs of a case: how much, and the digest of it
    RECORDS_REPLAYED = "records_replayed"  # computed again from what is archived of a case


@dataclass(frozen=True, slots=True)
class Event:
    """Something done or seen that the audit log keeps: what (`wall_opened`), when, by whom. Ids yes, patients no.

    `actor` is a process or an operator; `about` adds names of the event's own.
    """

    kind: str
    at: datetime
    actor: str
    case_id: UUID | None = None
    about: Mapping[str, Scalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse names and values that have no one spelling."""
        aware_utc(self.at, "event")
        if not _named(self.kind) or not self.actor or not _scalar(self.actor):
            raise BadValue("event: needs a kind in lower case and an actor")
        if any(not _named(name) or name in RESERVED or not _scalar(value) for name, value in self.about.items()):
            raise BadValue("event: names in lower case, not those of every event; values are text, integer, true or false")

    def encode(self) -> bytes:
        """Return the event's bytes: field `e` of `{pNN}:events`, column `entry` of `audit_intake`."""
        case = {} if self.case_id is None else {"case_id": str(self.case_id)}
        data = canonical({"kind": self.kind, "at": moment(self.at), "actor": self.actor, **case, **self.about})
        if len(data) > LONGEST_EVENT:
            raise BadValue(f"event: {len(data)} bytes, at most {LONGEST_EVENT}")
        return data


def event_of(data: bytes) -> Event:
    """Return the event of its bytes; BadWire when they are none, or not in the one spelling."""
    try:
        found = json.loads(data[: LONGEST_EVENT + 1])
        case_id = UUID(found["case_id"]) if "case_id" in found else None
        about = {name: value for name, value in found.items() if name not in RESERVED}
        event = Event(found["kind"], datetime.fromisoformat(found["at"]), found["actor"], case_id, about)
        same = event.encode() == data
    except (AttributeError, BadValue, KeyError, RecursionError, TypeError, ValueError) as fault:
        raise BadWire("event: not the JSON of an event") from fault
    if not same:
        raise BadWire("event: not in canonical form")
    return event
