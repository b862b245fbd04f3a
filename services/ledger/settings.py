"""What the ledger is told at start."""

from pathlib import Path

from pydantic import Field, field_validator

from backbone.database import BadDatabaseUrl, normalised
from backbone.settings import ProcessSettings


class LedgerSettings(ProcessSettings, env_prefix="SOPOR_LEDGER_"):
    """Where the streams, PostgreSQL and the archive are, and how long the streams keep what is recorded."""

    site: Path = Field(validation_alias="SOPOR_SITE")
    redis_url: str = Field(validation_alias="SOPOR_REDIS_URL")
    database_url: str = Field(validation_alias="SOPOR_DATABASE_URL")
    keys: Path = Field(validation_alias="SOPOR_KEYS", description="key folder: signs checkpoints, wraps the keys of archives")
    archive: Path = Field(description="folder of the input archive, one sealed file a case")
    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    keep_minutes: int = Field(default=15, ge=1, description="recorded entries younger than this stay in the streams")
    deadline_s: float = Field(default=10.0, gt=0, description="longest wait for one answer of PostgreSQL")
    archive_each_s: float = Field(default=10.0, gt=0, le=300, description="entries wait at most so long for their file")
    archive_buffer_mb: int = Field(default=64, ge=1, description="entries that wait are written earlier above this size")
    batch: int = Field(default=200, ge=1, le=1000, description="most entries of one partition in one transaction")

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, url: str) -> str:
        try:
            normalised(url)
        except BadDatabaseUrl as fault:
            raise ValueError(str(fault)) from fault
        return url
