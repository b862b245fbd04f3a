"""The tables in PostgreSQL. Each names its single writer; readers go through `backbone.database`."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, DateTime, Float, Identity, Index, SmallInteger, Text, func, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """What all tables share: how a Python type stands in PostgreSQL."""

    type_annotation_map = {  # noqa: RUF012  SQLAlchemy reads it from the class
        UUID: postgresql.UUID(as_uuid=True),
        str: Text,
        bytes: postgresql.BYTEA,
        datetime: DateTime(timezone=True),
        float: Float(53),
        list[str]: ARRAY(Text),
    }


class RecordRow(Base):
    """One expected second of a case: its Prediction or Refusal, as the scorer wrote it. Written by the ledger only.

    `payload` is the whole record as bytes; the columns repeat what is searched for. `reason` is a Refusal's.
    """

    __tablename__ = "records"
    __table_args__ = (
        Index("records_of_a_bed", "site", "bed", "second"),
        CheckConstraint(
            "(outcome = 'prediction' AND tier IS NOT NULL AND value IS NOT NULL AND low IS NOT NULL AND high IS NOT NULL"
            " AND reason IS NULL) OR (outcome = 'refusal' AND reason IS NOT NULL AND tier IS NULL AND value IS NULL)",
            name="records_outcome",
        ),
    )

    case_id: Mapped[UUID] = mapped_column(primary_key=True)
    second: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    site: Mapped[str]
    bed: Mapped[str]
    simulated: Mapped[bool]
    outcome: Mapped[str]
    tier: Mapped[str | None]
    value: Mapped[float | None]
    low: Mapped[float | None]
    high: Mapped[float | None]
    reason: Mapped[str | None]
    caveats: Mapped[list[str]]
    model: Mapped[str | None]
    model_digest: Mapped[str | None]
    input_hash: Mapped[bytes]
    observed_until: Mapped[datetime | None]
    complete_at: Mapped[datetime | None]
    recorded_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    payload: Mapped[bytes]


class LedgerPosition(Base):
    """The last entry of each partition's `predictions` that the other tables hold. Written by the ledger only, with those rows."""

    __tablename__ = "ledger_position"

    partition: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    entry_id: Mapped[str]


class Unreadable(Base):
    """Entries of `predictions` and `events` that do not decode, kept as they came. Written by the ledger only."""

    __tablename__ = "unreadable"

    stream: Mapped[str] = mapped_column(primary_key=True, server_default="predictions")
    partition: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    entry_id: Mapped[str] = mapped_column(primary_key=True)
    payload: Mapped[bytes]
    recorded_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class LeafRow(Base):
    """One leaf of the audit log. Written by the ledger only, never changed: indexes run from 0 without a gap.

    `entry` is what was hashed (canonical JSON; it names its own index and instant); the other columns repeat what is searched for.
    """

    __tablename__ = "leaves"
    __table_args__ = (
        Index("leaves_of_a_case", "case_id", "second"),
        Index("leaf_of_a_record", "case_id", "second", unique=True, postgresql_where=text("kind = 'record'")),
    )

    index: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    kind: Mapped[str]
    case_id: Mapped[UUID | None]
    second: Mapped[int | None] = mapped_column(BigInteger)
    entry: Mapped[bytes]
    leaf_hash: Mapped[bytes]
    recorded_at: Mapped[datetime]


class TreeRow(Base):
    """The head of the tree over all leaves, one row. Written by the ledger only, with the leaves.

    `roots` are the roots of the perfect subtrees, largest first, 32 bytes each; `records` counts the leaves of records.
    """

    __tablename__ = "tree"
    __table_args__ = (CheckConstraint("id = 1", name="tree_one_row"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    size: Mapped[int] = mapped_column(BigInteger)
    roots: Mapped[bytes]
    records: Mapped[int] = mapped_column(BigInteger)


class CheckpointRow(Base):
    """A signed head of the tree, as C2SP spells it. Written by the ledger only, never changed."""

    __tablename__ = "checkpoints"

    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    root: Mapped[bytes]
    note: Mapped[str]
    at: Mapped[datetime]


class EventPosition(Base):
    """The last entry of each partition's `events` that has its leaf. Written by the ledger only, with the leaves."""

    __tablename__ = "event_position"

    partition: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    entry_id: Mapped[str]


class ArchiveRow(Base):
    """The input archive of one case: what its file must be. Written by the ledger only, with the position of the partition.

    `wrapped_key` is the file's data key, sealed by the vault's key `archive`; NULL: erased, and with it the file's content. `digest`
    chains the chunks (`services.ledger.archive_file`); the file may be longer than `size` (bytes) only after a crash.
    """

    __tablename__ = "archives"
    __table_args__ = (Index("archives_open", "partition", postgresql_where=text("closed_at IS NULL")),)

    case_id: Mapped[UUID] = mapped_column(primary_key=True)
    partition: Mapped[int] = mapped_column(SmallInteger)
    site: Mapped[str]
    bed: Mapped[str]
    wrapped_key: Mapped[bytes | None]
    chunks: Mapped[int]
    size: Mapped[int] = mapped_column(BigInteger)
    entries: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[bytes]
    first_entry: Mapped[str]
    last_entry: Mapped[str]
    opened_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    closed_at: Mapped[datetime | None]


class ArchivePosition(Base):
    """The last entry of each partition's `frames` that the archives hold, where they need it. Written by the ledger only."""

    __tablename__ = "archive_position"

    partition: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    entry_id: Mapped[str]


class IntakeRow(Base):
    """An event that a process with PostgreSQL hands to the ledger, inserted in the transaction that it speaks of.

    Writers insert `entry` (`anesthesia.leaf.Event.encode()`) and nothing else; the ledger sets `leaf` to the index it gave.
    """

    __tablename__ = "audit_intake"
    __table_args__ = (Index("audit_intake_open", "id", postgresql_where=text("leaf IS NULL")),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    entry: Mapped[bytes]
    leaf: Mapped[int | None] = mapped_column(BigInteger)
    inserted_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
