"""`python -m services.ehr_writer.show [STATE ...]`: the rows of the outbox as JSON lines; by default those that wait for people."""

import json
import sys
from dataclasses import asdict

from backbone.database import DatabaseDown, engine_of
from backbone.ehr_tables import OutboxState
from services.ehr_writer.broker import settings
from services.ehr_writer.outbox import Outbox, Shown

EXIT_USAGE, EXIT_DEPENDENCY = 2, 4


def line_of(row: Shown) -> str:
    """Return one row as JSON."""
    return json.dumps(asdict(row), default=str)


def main(arguments: list[str]) -> None:
    """Print the rows in these states; exit 2 for an unknown state, 4 when PostgreSQL is down."""
    unknown = sorted(set(arguments) - set(OutboxState))
    if unknown:
        sys.stderr.write(f"{unknown[0]}: no such state; known: {', '.join(OutboxState)}\n")
        raise SystemExit(EXIT_USAGE)
    try:
        rows = Outbox(engine_of(settings().database_url)).shown(arguments or [OutboxState.HELD, OutboxState.DEAD])
    except DatabaseDown as fault:
        sys.stderr.write(f"{fault}\n")
        raise SystemExit(EXIT_DEPENDENCY) from fault
    sys.stdout.writelines(f"{line_of(row)}\n" for row in rows)


if __name__ == "__main__":
    main(sys.argv[1:])
