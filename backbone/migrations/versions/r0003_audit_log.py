"""The audit log: leaves, tree, checkpoints, event_position, audit_intake; unreadable entries of a second stream."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0003"
down_revision = "r0002"
branch_labels = None
depends_on = None

NOW = sa.text("clock_timestamp()")


def upgrade() -> None:
    """Create the tables of the tree, then those of the events."""
    _tree()
    _events()


def _tree() -> None:
    op.create_table(
        "leaves",
        sa.Column("index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("case_id", postgresql.UUID(as_uuid=True)),
        sa.Column("second", sa.BigInteger()),
        sa.Column("entry", postgresql.BYTEA(), nullable=False),
        sa.Column("leaf_hash", postgresql.BYTEA(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("index"),
    )
    op.create_index("leaves_of_a_case", "leaves", ["case_id", "second"])
    of_records = sa.text("kind = 'record'")
    op.create_index("leaf_of_a_record", "leaves", ["case_id", "second"], unique=True, postgresql_where=of_records)
    op.create_table(
        "tree",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("roots", postgresql.BYTEA(), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint("id = 1", name="tree_one_row"),
    )
    op.create_table(
        "checkpoints",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("root", postgresql.BYTEA(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("size"),
    )


def _events() -> None:
    op.create_table(
        "event_position",
        sa.Column("partition", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("entry_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("partition"),
    )
    op.create_table(
        "audit_intake",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("entry", postgresql.BYTEA(), nullable=False),
        sa.Column("leaf", sa.BigInteger()),
        sa.Column("inserted_at", sa.DateTime(timezone=True), nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("audit_intake_open", "audit_intake", ["id"], postgresql_where=sa.text("leaf IS NULL"))
    op.add_column("unreadable", sa.Column("stream", sa.Text(), nullable=False, server_default="predictions"))
    op.drop_constraint("unreadable_pkey", "unreadable", type_="primary")
    op.create_primary_key("unreadable_pkey", "unreadable", ["stream", "partition", "entry_id"])
