"""COPY: the fastest way for many rows, in the transaction of a SQLAlchemy session. Blocking."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Connection

from backbone.database import BadDatabaseUrl


@dataclass(frozen=True, slots=True)
class Target:
    """A table and its columns with their types, in the order of the rows."""

    table: str
    columns: tuple[tuple[str, str], ...]

    @property
    def names(self) -> sql.Composed:
        """Return the columns as SQL spells them."""
        return sql.SQL(", ").join(sql.Identifier(name) for name, _ in self.columns)


def driver_of(connection: Connection) -> "psycopg.Connection[Any]":
    """Return the driver's own connection, in the same transaction."""
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection):
        raise BadDatabaseUrl("the ledger writes by COPY: it needs the driver psycopg")
    return driver


def copy_rows(connection: Connection, target: Target, rows: Iterable[Sequence[object]]) -> None:
    """Write rows."""
    command = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(sql.Identifier(target.table), target.names)
    with driver_of(connection).cursor() as cursor, cursor.copy(command) as copy:
        copy.set_types([kind for _, kind in target.columns])
        for row in rows:
            copy.write_row(row)


def copy_new(connection: Connection, incoming: Target, table: str, returning: Sequence[str]) -> list[tuple[Any, ...]]:
    """Move rows from a temporary table into another unless they are there; return columns of the new ones."""
    names = sql.SQL(", ").join(map(sql.Identifier, returning))
    command = sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} ON CONFLICT DO NOTHING RETURNING {}")
    query = command.format(sql.Identifier(table), incoming.names, incoming.names, sql.Identifier(incoming.table), names)
    with driver_of(connection).cursor(binary=True) as cursor:
        return cursor.execute(query).fetchall()


def make_temporary(connection: Connection, incoming: Target) -> None:
    """Make the session's temporary table, emptied at the end of each transaction."""
    column = sql.SQL("{} {}")
    columns = sql.SQL(", ").join(column.format(sql.Identifier(name), sql.SQL(kind)) for name, kind in incoming.columns)
    command = sql.SQL("CREATE TEMPORARY TABLE IF NOT EXISTS {} ({}) ON COMMIT DELETE ROWS")
    with driver_of(connection).cursor() as cursor:
        cursor.execute(command.format(sql.Identifier(incoming.table), columns))
