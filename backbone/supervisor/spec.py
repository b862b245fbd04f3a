"""What the supervisor is told of a process. The table of processes is a tuple of these."""

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backbone.supervisor.account import Account


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process: how it starts, when it is ready, how it stops."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    ready_within_s: float = 30.0
    drain_s: float = 10.0
    stop_signal: signal.Signals = signal.SIGTERM  # also what the kernel sends when the supervisor is gone
    probe: Callable[[], bool] | None = None  # asked until True; None: the process sends READY=1 itself
    account: Account | None = None  # None: our own
    folder: Path = Path("/")  # where it runs
    after: tuple[str, ...] | None = None  # which must be ready before it starts; None: all rows above
