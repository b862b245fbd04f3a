"""The audit log's tree in PostgreSQL: appended to in the transaction of what it speaks of. Blocking, on the session of the Book."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, func, insert, select, update

from anesthesia.checkpoint import Checkpoint
from anesthesia.errors import BadValue, SoporError
from anesthesia.merkle import HASH_BYTES, Range, leaf_hash
from backbone.tables import CheckpointRow, LeafRow, RecordRow, TreeRow
from services.ledger.copying import Target, copy_rows
from services.ledger.leaves import Kind, Leaf

ONE: Final = 1
EMPTY: Final = Range()
# Up to so many records are counted at the start; beyond that it would take too long, and `sopor audit verify` does it.
COUNTED: Final = 1_000_000
NEWEST: Final = select(CheckpointRow.size, CheckpointRow.root).order_by(CheckpointRow.size.desc()).limit(1)
TABLE: Final = Target(
    "leaves",
    (
        ("index", "int8"),
        ("kind", "text"),
        ("case_id", "uuid"),
        ("second", "int8"),
        ("entry", "bytea"),
        ("leaf_hash", "bytea"),
        ("recorded_at", "timestamptz"),
    ),
)


class BadLedger(SoporError):
    """The database does not hold what this log has promised; nothing may be written until a person has looked."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The head: the compact range, and how many of its leaves are records."""

    range: Range = EMPTY
    records: int = 0


def opened(connection: Connection) -> Tree:
    """Return the head as it is stored, made at the first start; BadLedger when the leaves or the records do not fit it."""
    row = connection.execute(select(TreeRow.size, TreeRow.roots, TreeRow.records)).one_or_none()
    tree = Tree() if row is None else Tree(_range(row.size, row.roots), row.records)
    _check_leaves(connection, tree)
    _check_records(connection, tree)
    if row is None:
        connection.execute(insert(TreeRow).values(id=ONE, size=0, roots=b"", records=0))
    return tree


def _range(size: int, roots: bytes) -> Range:
    try:
        return Range(size, tuple(roots[n : n + HASH_BYTES] for n in range(0, len(roots), HASH_BYTES)))
    except BadValue as fault:
        raise BadLedger("audit log: the row of `tree` is no tree; restore the database, or see `sopor audit verify`") from fault


def _check_leaves(connection: Connection, tree: Tree) -> None:
    newest = connection.scalar(select(func.max(LeafRow.index)))
    found = 0 if newest is None else newest + 1
    if found != tree.range.size:
        raise BadLedger(f"audit log: the tree has {tree.range.size} leaves, the table {found}; see `sopor audit verify`")


def _check_records(connection: Connection, tree: Tree) -> None:
    if tree.records > COUNTED:
        return
    some = select(RecordRow.second).limit(tree.records + 1).subquery()
    found = connection.scalar(select(func.count()).select_from(some))
    if found != tree.records:
        more = "more" if (found or 0) > tree.records else "fewer"
        raise BadLedger(f"audit log: there are {more} records than the {tree.records} that have a leaf; see `sopor audit verify`")


def check_against(connection: Connection, tree: Tree, kept: Checkpoint | None) -> None:
    """Raise BadLedger when the database is older than a checkpoint that was signed, or another one."""
    newest = connection.execute(NEWEST).one_or_none()
    if newest is not None and newest.size == tree.range.size and newest.root != tree.range.root():
        raise BadLedger("audit log: the tree is not the one of its newest checkpoint; see `sopor audit verify`")
    if kept is None:
        return
    root = connection.scalar(select(CheckpointRow.root).where(CheckpointRow.size == kept.size))
    if root != kept.root or kept.size > tree.range.size:
        raise BadLedger(
            f"audit log: the checkpoint over {kept.size} leaves beside the key is not in this database (its tree has {tree.range.size}): "
            "an older backup, or another database; see docs/reference/audit.md"
        )


def append(connection: Connection, tree: Tree, leaves: Sequence[Leaf], at: datetime) -> Tree:
    """Write leaves at the next indexes, and the head; return it. BadLedger when another has written meanwhile."""
    if not leaves:
        return tree
    grown, rows = tree.range, []
    for leaf in leaves:
        entry = leaf.entry(grown.size, at)
        hashed = leaf_hash(entry)
        rows.append((grown.size, leaf.kind.value, leaf.case_id, leaf.second, entry, hashed, at))
        grown = grown.append(hashed)
    copy_rows(connection, TABLE, rows)
    records = tree.records + sum(leaf.kind is Kind.RECORD for leaf in leaves)
    head = update(TreeRow).where(TreeRow.id == ONE, TreeRow.size == tree.range.size)
    moved = connection.execute(head.values(size=grown.size, roots=b"".join(grown.roots), records=records))
    if moved.rowcount != 1:
        raise BadLedger("audit log: another process has written to the tree")
    return replace(tree, range=grown, records=records)


def newest_size(connection: Connection) -> int:
    """Return how many leaves the newest checkpoint covers (0: there is none)."""
    found = connection.execute(NEWEST).one_or_none()
    return 0 if found is None else int(found.size)


def store(connection: Connection, tree: Tree, note: str, at: datetime) -> None:
    """Write a checkpoint of this head."""
    connection.execute(insert(CheckpointRow).values(size=tree.range.size, root=tree.range.root(), note=note, at=at))
