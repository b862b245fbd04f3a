"""What the listener is told at start."""

from pathlib import Path

from pydantic import Field

from backbone.settings import ProcessSettings

_MAPPINGS = Path(__file__).parents[2] / "deploy" / "mappings"


class ListenerSettings(ProcessSettings, env_prefix="SOPOR_LISTENER_"):
    """Where site file, keys, journal and streams are, and what peers may do."""

    site: Path = Field(validation_alias="SOPOR_SITE")
    keys: Path = Field(validation_alias="SOPOR_KEYS")
    redis_url: str = Field(validation_alias="SOPOR_REDIS_URL")
    mappings: Path = Field(default=_MAPPINGS, validation_alias="SOPOR_MAPPINGS")
    journal: Path = Field(description="folder of the journal, on a local disk")
    name: str = Field(default="listener-1", pattern=r"^[A-Za-z0-9_-]+$", description="of this listener, in every Frame's origin")
    host: str | None = Field(default=None, description="instead of the site file's")
    port: int | None = Field(default=None, ge=0, le=65535, description="instead of the site file's; 0: a free one")
    inspect_port: int = Field(default=50061, ge=0, le=65535, description="of journal.v1, on loopback; 0: a free one")
    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    idle_s: float = Field(default=600.0, gt=0, description="silence between two messages after which a connection is closed")
    frame_s: float = Field(default=30.0, gt=0, description="longest time from the first to the last byte of a message")
    answer_s: float = Field(default=10.0, gt=0, description="longest time for a peer to take its answer")
    message_bytes: int = Field(default=4 * 1024 * 1024, ge=1024)
    connections: int = Field(default=512, ge=1)
    disk_budget_mb: int = Field(default=20_000, ge=1, description="of the journal; beyond it every message gets AE")
    silence_check_s: float = Field(default=10.0, gt=0)
    silence_grace_s: float = Field(default=60.0, ge=0, description="after a start, for senders to deliver what they held back")
