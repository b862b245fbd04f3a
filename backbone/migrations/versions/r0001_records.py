"""The record tables: records, ledger_position, unreadable."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0001"
down_revision = None
branch_labels = None
depends_on = None

NOW = sa.text("clock_timestamp()")


def upgrade() -> None:
    """Create the three tables."""
    op.create_table(
        "records",
        sa.Column("case_id", postgresql.UUID(as_uuid=True), nullable=False),
        sa.Column("second", sa.BigInteger(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("bed", sa.Text(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text()),
        sa.Column("value", sa.Float(53)),
        sa.Column("low", sa.Float(53)),
        sa.Column("high", sa.Float(53)),
        sa.Column("reason", sa.Text()),
        sa.Column("caveats", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("model", sa.Text()),
        sa.Column("model_digest", sa.Text()),
        sa.Column("input_hash", postgresql.BYTEA(), nullable=False),
        sa.Column("observed_until", sa.DateTime(timezone=True)),
        sa.Column("complete_at", sa.DateTime(timezone=True)),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False, server_default=NOW),
        sa.Column("payload", postgresql.BYTEA(), nullable=False),
        sa.PrimaryKeyConstraint("case_id", "second"),
        sa.CheckConstraint(
            "(outcome = 'prediction' AND tier IS NOT NULL AND value IS NOT NULL AND low IS NOT NULL AND high IS NOT NULL"
            " AND reason IS NULL) OR (outcome = 'refusal' AND reason IS NOT NULL AND tier IS NULL AND value IS NULL)",
            name="records_outcome",
        ),
    )
    op.create_index("records_of_a_bed", "records", ["site", "bed", "second"])
    op.create_table(
        "ledger_position",
        sa.Column("partition", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("entry_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("partition"),
    )
    op.create_table(
        "unreadable",
        sa.Column("partition", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("entry_id", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.BYTEA(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("partition", "entry_id"),
    )
