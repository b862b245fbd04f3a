"""What the supervisor takes from the environment; options of the command line come before it."""

from pathlib import Path

from pydantic import Field

from backbone.settings import ProcessSettings

CODE_ROOT = Path(__file__).resolve().parents[2]


class SupervisorSettings(ProcessSettings):
    """Where things are. A URL that is set means: do not start that server."""

    state: Path | None = Field(default=None, validation_alias="SOPOR_STATE", description="the state folder")
    site: Path = Field(default=CODE_ROOT / "deploy" / "demo" / "sopor.toml", validation_alias="SOPOR_SITE", description="the site file")
    mappings: Path = Field(default=CODE_ROOT / "deploy" / "mappings", validation_alias="SOPOR_MAPPINGS", description="the mappings folder")
    redis_url: str | None = Field(default=None, validation_alias="SOPOR_REDIS_URL")
    database_url: str | None = Field(default=None, validation_alias="SOPOR_DATABASE_URL")
    state_home: Path | None = Field(default=None, validation_alias="XDG_STATE_HOME")
    web_port: int = Field(default=8080, ge=1, le=65535, validation_alias="SOPOR_WEB_PORT")
    inspect_port: int = Field(default=50061, ge=1, le=65535, validation_alias="SOPOR_LISTENER_INSPECT_PORT")
