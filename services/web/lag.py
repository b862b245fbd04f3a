"""Whether the ledger keeps up: what was seen some seconds ago must be recorded by now. Pure.

It compares the newest entries that this process has seen with the position that PostgreSQL tells, so it is right too when
PostgreSQL is silent: then the position stands still, and what is new counts as not recorded.
"""

from collections import deque
from collections.abc import Mapping
from typing import Final

from backbone.redis.streams import moment_of

TOLERATED_S: Final = 5.0


class LedgerLag:
    """Which partitions hold entries older than five seconds that are not recorded."""

    def __init__(self) -> None:
        """Nothing seen, nothing recorded."""
        self._newest: dict[int, str] = {}
        self._recorded: dict[int, str] = {}
        self._past: deque[tuple[float, dict[int, str]]] = deque()

    def saw(self, partition: int, entry_id: str) -> None:
        """Take the newest entry of a partition."""
        self._newest[partition] = entry_id

    def told(self, positions: Mapping[int, str]) -> None:
        """Take the positions that PostgreSQL told."""
        self._recorded = dict(positions)

    def behind(self, now_s: float) -> frozenset[int]:
        """Return the partitions that lag, at a monotonic instant; ask about once a second."""
        self._past.append((now_s, dict(self._newest)))
        while len(self._past) > 1 and self._past[1][0] <= now_s - TOLERATED_S:
            self._past.popleft()
        at_s, seen = self._past[0]
        if now_s - at_s < TOLERATED_S:
            return frozenset()
        return frozenset(
            partition for partition, entry_id in seen.items() if moment_of(entry_id) > moment_of(self._recorded.get(partition, "0-0"))
        )
