"""How fast a source may send: above its rate its connections are read later, and TCP holds it back. Pure."""

from typing import Final

UNIT_BYTES: Final = 16 * 1024  # a longer message counts as several
BURST_S: Final = 1.0


class Rates:
    """What each source has left. A message is never refused for its rate: who was too fast waits before it is heard again."""

    def __init__(self, *, source_hz: float, strangers_hz: float) -> None:
        """Give each source of the site file a rate, in messages a second, and all senders that it does not name one together."""
        self._source_hz, self._strangers_hz = source_hz, strangers_hz
        self._paid_until_s: dict[str, float] = {}

    def spend(self, source: str, size: int, now_s: float) -> float:
        """Count a message of `size` bytes; return the seconds to wait before the source is heard again. `source` empty: a stranger."""
        cost = (1 + size // UNIT_BYTES) / (self._source_hz if source else self._strangers_hz)
        paid_until_s = max(self._paid_until_s.get(source, 0.0), now_s - BURST_S) + cost
        self._paid_until_s[source] = paid_until_s
        return max(0.0, paid_until_s - now_s)
