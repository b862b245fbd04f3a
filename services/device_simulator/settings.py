"""Settings of the simulator, from `SOPOR_SIMULATOR_*`."""

from pathlib import Path

from pydantic import AliasChoices, Field

from backbone.settings import ProcessSettings


class SimulatorSettings(ProcessSettings, env_prefix="SOPOR_SIMULATOR_"):
    """Where to send, what to play."""

    scenario: str = Field("demo", description="a built-in scenario's name, or the path of a YAML file")
    host: str = "127.0.0.1"
    port: int = Field(2575, ge=1, le=65535)
    log: Path = Field(Path("simulator.jsonl"), description="every message sent, one JSON object a line")
    data: Path = Field(
        Path("../shared/data"),
        validation_alias=AliasChoices("SOPOR_SIMULATOR_DATA", "SOPOR_DATA"),
        description="folder of recordings; may be absent",
    )
    control: Path | None = Field(None, description="unix socket for commands; none when unset")
    seed: int = Field(1, ge=0)
    speed: float = Field(1.0, gt=0.0, le=100.0, description="simulated seconds in a second")
    connect_timeout_s: float = Field(3.0, gt=0.0)
    ack_timeout_s: float = Field(5.0, gt=0.0)
    longest_backoff_s: float = Field(5.0, gt=0.0)
    farewell_s: float = Field(5.0, gt=0.0, description="how long the discharges may take at the end")
    queue_messages: int = Field(900, ge=1, description="unacknowledged messages that one connection keeps")
