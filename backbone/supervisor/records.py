"""What the ledger has recorded, counted: `sopor demo` tells it while it runs and at the end."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import psycopg

CONNECT_TIMEOUT_S: Final = 2
QUERY: Final = """
SELECT bed, count(*), count(*) FILTER (WHERE tier = 'E'), count(*) FILTER (WHERE tier = 'D'), count(DISTINCT case_id)
FROM records GROUP BY bed
"""


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


def count_records(database_url: str) -> Recorded | None:
    """Return the counts, or None while the database or its schema is not there."""
    try:
        with psycopg.connect(database_url, connect_timeout=CONNECT_TIMEOUT_S, options="-c statement_timeout=2s") as connection:
            rows = connection.execute(QUERY).fetchall()
    except psycopg.Error:
        return None
    return Recorded(
        tier_e=sum(row[2] for row in rows),
        tier_d=sum(row[3] for row in rows),
        cases=sum(row[4] for row in rows),
        by_bed={row[0]: row[1] for row in rows},
    )
