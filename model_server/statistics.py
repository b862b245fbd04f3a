"""What this process has run since it started, in the figures of the protocol's statistics extension. Values only: the batcher counts."""

from dataclasses import dataclass, field
from datetime import datetime

NS_PER_S = 1e9


@dataclass(slots=True)
class Span:
    """How often something happened and how long it took in all."""

    count: int = 0
    ns: int = 0

    def add(self, duration_s: float) -> None:
        """Count one more."""
        self.count += 1
        self.ns += round(duration_s * NS_PER_S)


@dataclass(slots=True)
class Statistics:
    """Requests by outcome, windows by what they waited for, batches by size."""

    succeeded: Span = field(default_factory=Span)  # requests that the model answered
    failed: Span = field(default_factory=Span)  # requests turned away by a full queue, or given up by their caller
    queued: Span = field(default_factory=Span)  # windows
    computed: Span = field(default_factory=Span)  # windows, each with the time of its whole batch
    batches: dict[int, Span] = field(default_factory=dict)  # by number of windows
    last_at: datetime | None = None  # end of the newest batch

    def ran(self, windows: int, compute_s: float, at: datetime) -> None:
        """Count one batch."""
        self.batches.setdefault(windows, Span()).add(compute_s)
        self.last_at = at
