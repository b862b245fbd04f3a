"""The tables in PostgreSQL. Each names its single writer; readers go through `backbone.database`."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, DateTime, Float, Index, SmallInteger, Text, func
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
    """Entries of `predictions` that do not decode, kept as they came. Written by the ledger only."""

    __tablename__ = "unreadable"

    partition: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    entry_id: Mapped[str] = mapped_column(primary_key=True)
    payload: Mapped[bytes]
    recorded_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
