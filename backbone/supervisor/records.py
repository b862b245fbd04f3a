"""What the ledger has recorded: counted while `sopor demo` runs, read whole when it is checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import psycopg

CONNECT_TIMEOUT_S: Final = 2
COUNTS: Final = """
SELECT bed, count(*), count(*) FILTER (WHERE tier = 'E'), count(*) FILTER (WHERE tier = 'D'), count(DISTINCT case_id)
FROM records GROUP BY bed
"""
ALL: Final = "SELECT case_id, bed, second, tier, value, reason, complete_at, recorded_at FROM records ORDER BY case_id, second"


@dataclass(frozen=True, slots=True)
class Recorded:
    """Counts over all beds."""

    tier_e: int
    tier_d: int
    cases: int
    by_bed: Mapping[str, int]

    @property
    def records(self) -> int:
        """All records."""
        return sum(self.by_bed.values())

    @property
    def refusals(self) -> int:
        """Records without a number."""
        return self.records - self.tier_e - self.tier_d


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """One expected second as PostgreSQL has it: tier and value of a Prediction (depth 0 to 100), or the reason of a Refusal.

    `complete_at` is when the journal had the last reading that it rests on (None: it waited in vain), `recorded_at` the commit's instant.
    """

    case_id: UUID
    bed: str
    second: int
    tier: str | None
    value: float | None
    reason: str | None
    complete_at: datetime | None
    recorded_at: datetime


def count_records(database_url: str) -> Recorded | None:
    """Return the counts, or None while the database or its schema is not there."""
    try:
        with psycopg.connect(database_url, connect_timeout=CONNECT_TIMEOUT_S, options="-c statement_timeout=2s") as connection:
            rows = connection.execute(COUNTS).fetchall()
    except psycopg.Error:
        return None
    return Recorded(
        tier_e=sum(row[2] for row in rows),
        tier_d=sum(row[3] for row in rows),
        cases=sum(row[4] for row in rows),
        by_bed={row[0]: row[1] for row in rows},
    )


def read_records(database_url: str) -> tuple[StoredRecord, ...] | None:
    """Return every record, by case and second, or None while the database or its schema is not there."""
    try:
        options = "-c statement_timeout=10s -c timezone=UTC"
        with psycopg.connect(database_url, connect_timeout=CONNECT_TIMEOUT_S, options=options) as connection:
            return tuple(StoredRecord(*row) for row in connection.execute(ALL))
    except psycopg.Error:
        return None
