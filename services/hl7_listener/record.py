"""What one commit of the journal holds. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from services.hl7_listener.oru import Unmapped


class State(StrEnum):
    """What became of a message."""

    ACCEPTED = "accepted"
    NOT_ACTED_ON = "not_acted_on"  # an event that changes nothing here
    UNROUTED = "unrouted"  # of a bed that the site file does not name
    CLOCK = "clock"  # its source's clock is not trusted
    REFUSED = "refused"  # answered AE or AR; no effect unless sent again
    TIME = "time"  # no message: time alone ended an Occupancy


@dataclass(frozen=True, slots=True)
class Effect:
    """One entry for a stream: a Frame (`case_id` None) or a revision of an Occupancy, as StreamEntry bytes."""

    partition: int
    case_id: UUID | None
    payload: bytes


@dataclass(frozen=True, slots=True)
class MessageRow:
    """One message. Clear: what tells nothing of the patient. `content` is stored sealed."""

    sequence: int
    received_at: datetime
    state: State
    content: bytes = b""
    digest: bytes = b""  # SHA-256 of the content
    identity: bytes = b""  # of the message: hash of source, MSH-3, MSH-4, MSH-10, MSH-7
    source: str = ""
    control_id: str = ""
    message_type: str = ""
    bed: str = ""
    pseudonym: str = ""
    mapping_digest: str = ""
    clock_offset_s: float = 0.0
    code: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """State that must survive a restart, written with the message that changed it: kind (`board`, `clock`, `told`), key, value."""

    kind: str
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Commit:
    """What is written in one transaction, or not at all."""

    row: MessageRow | None = None  # None: only counted
    effects: tuple[Effect, ...] = ()
    kept: tuple[Kept, ...] = ()
    unmapped: tuple[Unmapped, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
