"""What the listener is told at start."""

from dataclasses import fields
from pathlib import Path

from pydantic import Field

from backbone.settings import ProcessSettings
from services.hl7_listener.limits import PeerLimits

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
    idle_s: float = Field(default=600.0, gt=0, description="from one message to the next, after which a connection is closed")
    frame_s: float = Field(default=30.0, gt=0, description="longest time from the first to the last byte of a message")
    rest_s: float = Field(default=0.5, gt=0, description="silence that ends a message, where its source may leave out its end")
    answer_s: float = Field(default=10.0, gt=0, description="longest time for a peer to take its answer")
    keep_alive_s: float = Field(default=60.0, ge=1, description="silence before TCP asks whether the peer is there")
    message_bytes: int = Field(default=4 * 1024 * 1024, ge=1024)
    connections: int = Field(default=2048, ge=1)
    connections_per_address: int = Field(default=256, ge=1)
    source_hz: float = Field(default=2000.0, gt=0, description="messages of one source in a second; above it, it is read later")
    strangers_hz: float = Field(default=100.0, gt=0, description="the same of all senders together that the site file does not name")
    disk_budget_mb: int = Field(default=20_000, ge=1, description="of the journal; beyond it every message gets AE")
    silence_check_s: float = Field(default=10.0, gt=0)
    silence_grace_s: float = Field(default=60.0, ge=0, description="after a start, for senders to deliver what they held back")

    @property
    def peers(self) -> PeerLimits:
        """What a peer may do."""
        return PeerLimits(**{field.name: getattr(self, field.name) for field in fields(PeerLimits)})
