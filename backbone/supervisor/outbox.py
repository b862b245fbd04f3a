"""How much of the outbox the EHR has taken: `sopor demo` tells it while it runs."""

from typing import Final

import psycopg

CONNECT_TIMEOUT_S: Final = 2
DONE: Final = "SELECT count(*) FROM outbox WHERE state = 'done'"


def count_written(database_url: str) -> int | None:
    """Return how many resources the EHR has taken, or None while the database or its schema is not there."""
    try:
        with psycopg.connect(database_url, connect_timeout=CONNECT_TIMEOUT_S, options="-c statement_timeout=2s") as connection:
            row = connection.execute(DONE).fetchone()
    except psycopg.Error:
        return None
    return int(row[0]) if row else None
