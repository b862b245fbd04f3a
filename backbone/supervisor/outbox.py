"""What the EHR writer has planned and written, counted: `sopor demo` tells it while it runs and at the end."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg

CONNECT_TIMEOUT_S: Final = 2
ROWS: Final = "SELECT kind, state, count(*) FROM outbox GROUP BY kind, state"
DONE: Final = "SELECT resource_id, kind FROM outbox WHERE state = 'done'"
# Cases of known patients with records, and those of them that the planner is not through with: a recorded minute without its row, or
# an end whose last second is recorded without the audit summary.
CASES: Final = """
WITH known AS (
  SELECT i.case_id, extract(epoch FROM i.ended_at) AS ended, min(r.second) AS first, max(r.second) AS last
  FROM identities i JOIN records r USING (case_id) WHERE length(i.sealed_identity) > 0 GROUP BY i.case_id, i.ended_at
), planned AS (
  SELECT case_id, extract(epoch FROM max(window_end)) AS until, bool_or(kind = 'audit-summary') AS closed FROM outbox GROUP BY case_id
)
SELECT count(*), count(*) FILTER (
  WHERE coalesce(until, 0) < least(floor(ended), last + 1) OR (last >= floor(ended) - 1 AND closed IS NOT TRUE AND floor(ended) > first)
) FROM known LEFT JOIN planned USING (case_id)
"""
# The words of `backbone.ehr_tables`, not imported: SQLAlchemy would cost each command its start. A test compares them.
SUMMARY, WITHHELD, AUDIT = "summary", "withheld", "audit-summary"
DUE, LEASED, HELD, DEAD, SUPPRESSED = "due", "leased", "held", "dead", "suppressed"


@dataclass(frozen=True, slots=True)
class Planned:
    """The outbox's rows by (kind, state), the cases that it can write for, and those not planned to their end yet."""

    rows: Mapping[tuple[str, str], int]
    cases: int
    unplanned: int
    done: Mapping[str, str]  # id in the EHR -> kind

    def count(self, *states: str) -> int:
        """Return how many rows stand in one of the states."""
        return sum(count for (_, state), count in self.rows.items() if state in states)

    @property
    def minutes(self) -> int:
        """How many minutes were due: with a number, or withheld with news."""
        return sum(n for (kind, state), n in self.rows.items() if kind != AUDIT and state != SUPPRESSED)

    @property
    def audits(self) -> int:
        """How many cases are closed."""
        return sum(n for (kind, _), n in self.rows.items() if kind == AUDIT)

    @property
    def open(self) -> int:
        """Rows that a worker has or will take."""
        return self.count(DUE, LEASED)

    @property
    def settled(self) -> bool:
        """Tell whether nothing is left to plan or to write."""
        return self.open == 0 and self.unplanned == 0


@contextmanager
def _connected(database_url: str) -> "Iterator[psycopg.Connection[tuple[Any, ...]]]":
    with psycopg.connect(database_url, connect_timeout=CONNECT_TIMEOUT_S, options="-c statement_timeout=2s") as connection:
        yield connection


def count_written(database_url: str) -> int | None:
    """Return how many resources the EHR has taken, or None while the database or its schema is not there."""
    try:
        with _connected(database_url) as connection:
            row = connection.execute("SELECT count(*) FROM outbox WHERE state = 'done'").fetchone()
    except psycopg.Error:
        return None
    return int(row[0]) if row else None


def read_planned(database_url: str) -> Planned | None:
    """Return the whole account, or None while the database or its schema is not there."""
    try:
        with _connected(database_url) as connection:
            rows = {(row[0], row[1]): int(row[2]) for row in connection.execute(ROWS)}
            cases, unplanned = connection.execute(CASES).fetchone() or (0, 0)
            done = {row[0]: row[1] for row in connection.execute(DONE)}
    except psycopg.Error:
        return None
    return Planned(rows, cases, unplanned, done)
