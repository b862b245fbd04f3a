"""Changing a record behind the ledger's back, as an insider with the database's password would. For demonstrations: no process calls it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import psycopg

from backbone.supervisor.errors import SupervisorError

CONNECT_TIMEOUT_S: Final = 2  # the least that libpq knows; a socket without a server refuses at once
POINTS: Final = 25.0  # enough to make a light patient look deep
CHANGE: Final = """
WITH found AS (
  SELECT l."index", r.case_id, r."second", r.value
  FROM leaves l JOIN records r ON r.case_id = l.case_id AND r."second" = l."second"
  WHERE l.kind = 'record' AND l."index" > %(after)s AND r.tier = 'E' ORDER BY l."index" DESC LIMIT 1
)
UPDATE records r SET value = found.value + CASE WHEN found.value < 50 THEN %(points)s ELSE -%(points)s END
FROM found WHERE r.case_id = found.case_id AND r."second" = found."second"
RETURNING found."index", r.bed, r."second", found.value, r.value
"""


@dataclass(frozen=True, slots=True)
class Tampered:
    """The record that was changed, and the leaf that speaks against it."""

    leaf: int
    bed: str
    at: datetime  # the second of the record
    before: float
    after: float


def tamper(database_url: str, after: int = -1) -> Tampered:
    """Change the value of the newest tier E record whose leaf comes after this one; SupervisorError when there is none, or no database."""
    try:
        with psycopg.connect(database_url, connect_timeout=CONNECT_TIMEOUT_S, options="-c statement_timeout=100ms") as connection:
            row = connection.execute(CHANGE, {"after": after, "points": POINTS}).fetchone()
    except psycopg.Error as fault:
        raise SupervisorError(f"PostgreSQL did not take it ({type(fault).__name__}): nothing was changed") from fault
    if row is None:
        raise SupervisorError("no score from EEG is recorded since: nothing was changed")
    return Tampered(row[0], row[1], datetime.fromtimestamp(row[2], UTC), row[3], row[4])
