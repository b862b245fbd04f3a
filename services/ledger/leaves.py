"""What each leaf says. Pure: the ledger writes it, the audit writes it again and compares.

A leaf names its own index and instant, so that a leaf in another's place says so itself.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from anesthesia.errors import BadWire
from anesthesia.leaf import canonical, event_of, moment
from anesthesia.occupancy import Occupancy
from services.ledger.records import Row


class Kind(StrEnum):
    """What a leaf stands for. Closed list."""

    RECORD = "record"
    OCCUPANCY = "occupancy"
    EVENT = "event"


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf before it has its index: its kind, what it is searched by, and what it says."""

    kind: Kind
    case_id: UUID | None
    second: int | None
    says: Mapping[str, Any]

    def entry(self, index: int, at: datetime) -> bytes:
        """Return the bytes that are hashed."""
        return canonical({**self.says, "index": index, "at": moment(at)})


def digest(data: bytes) -> str:
    """Return SHA-256 as hex."""
    return hashlib.sha256(data).hexdigest()


def record_leaf(row: Row) -> Leaf:
    """Return the leaf of a record: what it came to, and the hashes of its bytes, its inputs and its model."""
    says = {
        "kind": "record",
        "case_id": str(row["case_id"]),
        "second": row["second"],
        "outcome": row["outcome"],
        "record": digest(row["payload"]),
        "input_hash": bytes(row["input_hash"]).hex(),
    }
    if row["value"] is not None:
        # The shortest text that reads back as the same number: a float has no one spelling in JSON.
        says |= {"tier": row["tier"], "value": repr(row["value"])}
    if row["reason"] is not None:
        says["reason"] = row["reason"]
    if row["model"] is not None:
        says |= {"model": row["model"], "model_digest": row["model_digest"] or ""}
    return Leaf(Kind.RECORD, row["case_id"], row["second"], says)


def occupancy_leaf(occupancy: Occupancy, packed: bytes) -> Leaf:
    """Return the leaf of one revision of an Occupancy; of the identity it holds the hash of the seal only."""
    says = {
        "kind": "occupancy",
        "case_id": str(occupancy.case_id),
        "pseudonym": occupancy.pseudonym,
        "site": occupancy.bed.site,
        "bed": occupancy.bed.name,
        "started": moment(occupancy.start),
        "ended": "" if occupancy.end is None else moment(occupancy.end),
        "simulated": occupancy.simulated,
        "sealed": digest(occupancy.sealed_identity),
        "occupancy": digest(packed),
    }
    return Leaf(Kind.OCCUPANCY, occupancy.case_id, None, says)


def event_leaf(source: str, data: bytes) -> Leaf:
    """Return the leaf of an event from `source` (`p03:1690-0`, `intake:7`); BadWire when the bytes are no event."""
    event = event_of(data)
    says: dict[str, Any] = {"kind": event.kind, "at": moment(event.at), "actor": event.actor, **event.about}
    if event.case_id is not None:
        says["case_id"] = str(event.case_id)
    return Leaf(Kind.EVENT, event.case_id, None, {"kind": "event", "source": source, "event": says})


def intake_leaf(number: int, data: bytes) -> Leaf:
    """Return the leaf of a row of `audit_intake`; what is no event has a leaf that says so, with its hash."""
    try:
        return event_leaf(f"intake:{number}", data)
    except BadWire:
        says = {"kind": "event", "source": f"intake:{number}", "unreadable": digest(data)}
        return Leaf(Kind.EVENT, None, None, says)
