"""Settings of the depth scorer, from `SOPOR_SCORER_...` and the shared variables."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from backbone.settings import ProcessSettings


class ScorerSettings(ProcessSettings):
    """Where the streams, the model and the site file are."""

    model_config = SettingsConfigDict(env_prefix="SOPOR_SCORER_")

    site: Path = Field(validation_alias="SOPOR_SITE")
    redis_url: str = Field(validation_alias="SOPOR_REDIS_URL")
    model_target: str = "127.0.0.1:50051"
    models_folder: Path = Path(__file__).parents[2] / "model_server" / "models"
    metrics_port: int | None = None
