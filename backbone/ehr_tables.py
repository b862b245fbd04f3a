"""The tables of the way back to the EHR: who a case is about, and what is to be written where.

A row of `outbox` is one resource for one target; its content is frozen when it is planned, so that each try writes the same.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, Integer, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from backbone.tables import Base


class OutboxState(StrEnum):
    """Where a row stands. `due`, `leased` and `held` are open; the others are final."""

    DUE = "due"
    LEASED = "leased"  # a worker has it until `lease_until`
    HELD = "held"  # waits for people: `reason` says for what; tried again each minute
    DONE = "done"  # the EHR has it
    DRY_RUN = "dry-run"  # built and validated, not sent: the target's mode
    SUPPRESSED = "suppressed"  # nothing to write: a repeated withheld minute, or too little of a minute
    DEAD = "dead"  # the EHR refused it for good, or it failed too often


class OutboxKind(StrEnum):
    """What a row writes."""

    SUMMARY = "summary"
    WITHHELD = "withheld"
    PARTIAL = "partial"  # never written: too little of a minute lies in the case
    AUDIT = "audit-summary"


class OutboxRow(Base):
    """One resource that is due at one target. Written by the EHR writer only (planner, sweeper and workers).

    `content` holds pseudonymous numbers only; `sealed_words` what the server said, sealed to the identity key (purpose `ehr-words`).
    `attempts` counts tries and `faults` those that ended in no known outage; both are committed before the try.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        UniqueConstraint("case_id", "target", "window_start", name="outbox_window"),
        CheckConstraint("state IN ('due','leased','held','done','dry-run','suppressed','dead')", name="outbox_state"),
        Index(
            "outbox_open",
            "case_id",
            "target",
            "window_start",
            postgresql_where=text("state IN ('due','leased','held')"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    case_id: Mapped[UUID]
    target: Mapped[str]
    window_start: Mapped[datetime]
    window_end: Mapped[datetime]
    kind: Mapped[str]
    simulated: Mapped[bool]
    content: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    state: Mapped[str]
    reason: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    faults: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    next_attempt_at: Mapped[datetime]
    lease_token: Mapped[UUID | None]
    lease_until: Mapped[datetime | None]
    queued_at: Mapped[datetime | None]
    resource_id: Mapped[str | None]
    version_id: Mapped[str | None]
    sealed_words: Mapped[bytes | None]
    planned_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    finished_at: Mapped[datetime | None]


class IdentityRow(Base):
    """Who a case is about, as the last revision of its Occupancy said. Written by the ledger only; this module only declares it.

    `sealed_identity` opens with the vault's identity key (purpose `identity`); empty while nobody has said who lies there.
    """

    __tablename__ = "identities"

    case_id: Mapped[UUID] = mapped_column(primary_key=True)
    pseudonym: Mapped[str]
    site: Mapped[str]
    bed: Mapped[str]
    sealed_identity: Mapped[bytes]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    simulated: Mapped[bool]
