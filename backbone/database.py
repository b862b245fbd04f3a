"""PostgreSQL: how a process connects, brings the schema up to date, and reads what others have written.

The writer of a table opens its own transactions on `engine_of`; everyone else reads through `Reader`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
from sqlalchemy import Connection, Engine, create_engine, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool, Pool, QueuePool

from anesthesia.errors import SoporError
from anesthesia.reading import Bed
from backbone.tables import LedgerPosition, RecordRow

MIGRATIONS: Final = Path(__file__).with_name("migrations")
DRIVER: Final = "postgresql+psycopg"
# Numbers of advisory locks, drawn once: one for the schema, one for the ledger's leadership.
SCHEMA_LOCK: Final = 0x736F706F72_01
LEDGER_LOCK: Final = 0x736F706F72_02
CONNECT_TIMEOUT_S: Final = 3
STATEMENT_TIMEOUT_S: Final = 10


class BadDatabaseUrl(SoporError):
    """The URL is none of PostgreSQL; the text never holds its password."""


class DatabaseDown(SoporError):
    """PostgreSQL does not answer, refuses, or lost the connection; try again after a pause. The transaction did not count."""


def normalised(url: str) -> URL:
    """Return the URL with our driver: `postgresql://...`, also over a unix socket (`postgresql://user@/name?host=/folder`)."""
    try:
        parsed = make_url(url)
    except ArgumentError as fault:
        raise BadDatabaseUrl("database URL: not a URL; give postgresql://user@host/name") from fault
    if parsed.drivername not in {"postgres", "postgresql", DRIVER}:
        raise BadDatabaseUrl(f"database URL: {parsed.drivername} is not PostgreSQL; give postgresql://user@host/name")
    return parsed.set(drivername=DRIVER)


def engine_of(url: str, *, pool: type[Pool] = NullPool) -> Engine:
    """Return an engine; nothing connects yet. Without a pool a connection lives exactly as long as its `with`."""
    options = f"-c statement_timeout={STATEMENT_TIMEOUT_S}s -c lock_timeout={STATEMENT_TIMEOUT_S}s -c timezone=UTC"
    arguments = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "options": options,
        "application_name": "sopor",
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": STATEMENT_TIMEOUT_S * 1000,
    }
    sizes = {"pool_size": 2, "max_overflow": 2, "pool_timeout": CONNECT_TIMEOUT_S} if pool is QueuePool else {}
    return create_engine(normalised(url), poolclass=pool, pool_pre_ping=pool is QueuePool, connect_args=arguments, **sizes)


@contextmanager
def answering() -> Iterator[None]:
    """Turn every fault of the driver inside into DatabaseDown, also where the driver is used without SQLAlchemy (COPY)."""
    try:
        yield
    except psycopg.Error as fault:
        raise DatabaseDown(f"postgresql: {type(fault).__name__}") from fault
    except DBAPIError as fault:
        raise DatabaseDown(f"postgresql: {type(fault.orig).__name__}") from fault
    except SQLAlchemyError as fault:
        raise DatabaseDown(f"postgresql: {type(fault).__name__}") from fault


def upgrade(url: str) -> None:
    """Bring the schema to the newest revision; processes that start together wait for each other."""
    engine = engine_of(url)
    with answering(), engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": SCHEMA_LOCK})
        if _revision(connection) != newest_revision():
            _migrate(connection)


def newest_revision() -> str:
    """Return the revision that this code stands on: the highest number among the files of the migrations."""
    return max(path.name for path in (MIGRATIONS / "versions").glob("r*.py")).partition("_")[0]


def _revision(connection: Connection) -> str | None:
    """Return the revision of the schema, None before the first."""
    if connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _migrate(connection: Connection) -> None:
    from alembic import command  # 10 MB and 0.3 s that only who migrates pays
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


@dataclass(frozen=True, slots=True)
class Scored:
    """One scored second as the trend draws it: tier E or D, value with its interval. A second that is missing was not scored."""

    second: int
    tier: str
    value: float
    low: float
    high: float


class Reader:
    """What others may read of the ledger's tables. Blocking: call it from a worker thread."""

    def __init__(self, url: str) -> None:
        """Remember where; nothing connects yet."""
        self._engine = engine_of(url, pool=QueuePool)

    def positions(self) -> dict[int, str]:
        """Return the last recorded entry id of each partition that has one."""
        with answering(), self._engine.connect() as connection:
            rows = connection.execute(select(LedgerPosition.partition, LedgerPosition.entry_id))
            return {row.partition: row.entry_id for row in rows}

    def scored(self, bed: Bed, *, since: int) -> list[Scored]:
        """Return the scored seconds of a bed from `since` on, rising; of two cases in one second the later record."""
        row = RecordRow
        query = (
            select(row.second, row.tier, row.value, row.low, row.high)
            .where(row.site == bed.site, row.bed == bed.name, row.second >= since, row.tier.in_(("E", "D")))
            .order_by(row.second, row.recorded_at)
        )
        with answering(), self._engine.connect() as connection:
            found = connection.execute(query).all()
        return list({row.second: Scored(row.second, row.tier, row.value, row.low, row.high) for row in found}.values())

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()
