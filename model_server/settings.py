"""Settings of the model server, from `SOPOR_MODEL_...`."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from backbone.settings import ProcessSettings


class ModelServerSettings(ProcessSettings):
    """Which bundle is served, where, and within which bounds."""

    # "model_" is pydantic's own prefix for names; the settings `model` and `models_folder` say what they are.
    model_config = SettingsConfigDict(env_prefix="SOPOR_MODEL_", protected_namespaces=())

    listen: str = "127.0.0.1:50051"  # host:port, or unix:/path
    model: str = "depth-eeg@0.1.0"
    models_folder: Path = Path(__file__).parent / "models"
    metrics_port: int | None = None
    most_waiting: int = Field(default=512, ge=1)  # windows; above it a call is turned away, not queued
    drain_s: float = Field(default=5.0, ge=0)  # how long calls in progress may finish after SIGTERM
