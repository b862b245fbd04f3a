"""What the EHR writer is told at start: the planner process and each Celery worker read the same."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from pydantic import Field, field_validator

from backbone.database import BadDatabaseUrl, normalised
from backbone.settings import ProcessSettings


class EhrSettings(ProcessSettings, env_prefix="SOPOR_EHR_"):
    """Where PostgreSQL, the broker, the keys and the targets are, and how patient the writer is."""

    site: Path = Field(validation_alias="SOPOR_SITE", description="the site file")
    keys: Path = Field(validation_alias="SOPOR_KEYS", description="folder of the vault's keys")
    database_url: str = Field(validation_alias="SOPOR_DATABASE_URL")
    broker_url: str = Field(validation_alias="SOPOR_BROKER_URL", description="redis://, unix://PATH?db=N, redis+socket:// or amqp://")
    targets: Path = Field(description="file with the [[target]] tables")
    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    tick_s: float = Field(default=0.5, gt=0, le=5, description="pause between two rounds of planner and sweeper")
    jitter_s: float = Field(default=5.0, ge=0, le=5, description="most delay of a send, so that beds do not write all at once")
    request_s: float = Field(default=10.0, gt=0, le=30, description="longest wait for one answer of an EHR")
    lease_s: float = Field(default=60.0, ge=4, description="how long a worker may have a row before another may take it")
    requeue_s: float = Field(default=10.0, gt=0, description="a due row that no worker took is sent to the broker again after this")
    held_s: float = Field(default=60.0, gt=0, description="pause between two tries of a held row")
    backoff_s: float = Field(default=2.0, gt=0, description="mean of the first pause after a failed try, doubled with each")
    longest_backoff_s: float = Field(default=120.0, gt=0)
    most_faults: int = Field(default=8, ge=1, description="tries that ended in no known outage before a row is dead")
    backfill_h: float = Field(default=24.0, gt=0, description="cases that ended longer ago are not written without approval")

    @property
    def try_s(self) -> float:
        """Longest time for one try, all its requests together."""
        return self.lease_s / 2

    @property
    def hard_limit_s(self) -> float:
        """When Celery kills a child: after any try, before the lease ends, so that nobody writes a row that is another's."""
        return self.lease_s * 0.75

    @property
    def visibility_s(self) -> float:
        """When Redis hands a message to a second worker: more than twice the hard limit, or it would do so while the first one works."""
        return self.lease_s * 2

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, url: str) -> str:
        try:
            normalised(url)
        except BadDatabaseUrl as fault:
            raise ValueError(str(fault)) from fault
        return url

    @field_validator("broker_url")
    @classmethod
    def _is_a_broker(cls, url: str) -> str:
        return broker_of(url)


def broker_of(url: str) -> str:
    """Return the URL as Celery's transport reads it; a Redis socket is `unix://PATH?db=N` elsewhere in Sopor."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        database = parse_qs(parts.query).get("db", ["0"])[0]
        return f"redis+socket://{parts.path}?virtual_host={database}"
    if parts.scheme not in {"redis", "rediss", "redis+socket", "amqp", "amqps"}:
        raise ValueError("broker URL: give redis://, rediss://, unix://PATH?db=N or amqp://")
    return url
