"""What the wall is told at start."""

from ipaddress import ip_address
from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator

from backbone.database import BadDatabaseUrl, normalised
from backbone.settings import ProcessSettings


class WebSettings(ProcessSettings, env_prefix="SOPOR_WEB_"):
    """Where the wall listens and what it reads."""

    site: Path = Field(validation_alias="SOPOR_SITE", description="the site file")
    redis_url: str = Field(validation_alias="SOPOR_REDIS_URL")
    database_url: str = Field(validation_alias="SOPOR_DATABASE_URL")
    published_on_loopback: bool = Field(
        default=False, description="a container's port, published on its machine's loopback only: host may then be any address"
    )
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535, description="0: any free port")
    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    database_deadline_s: float = Field(default=4.0, gt=0, description="longest wait for one answer of PostgreSQL")
    most_viewers: int = Field(default=200, ge=1, description="pages that may follow at the same time")

    @field_validator("host")
    @classmethod
    def _is_loopback(cls, host: str, given: ValidationInfo) -> str:
        try:
            loopback = host == "localhost" or ip_address(host).is_loopback
        except ValueError:
            loopback = False
        if not loopback and not given.data.get("published_on_loopback"):
            raise ValueError("the wall has no login yet and so serves loopback only: give 127.0.0.1 or ::1")
        return host

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, url: str) -> str:
        try:
            normalised(url)
        except BadDatabaseUrl as fault:
            raise ValueError(str(fault)) from fault
        return url
