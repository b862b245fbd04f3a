"""What the audit log is told of a listener: with which mappings it runs, and which moves of patients moved nobody.

What moved somebody has its leaf as an Occupancy. Events go the forwarder's way, at least once: how far the journal is told stands in the
journal itself, written after the events were sent. No answer to a device ever waits for them.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from anesthesia.leaf import Event, EventKind, Scalar
from backbone.clock import Clock
from backbone.redis.streams import Streams
from backbone.wire import instant
from services.hl7_listener.code_set import CodeSet
from services.hl7_listener.journal import Journal
from services.hl7_listener.journal_reader import JournalReader
from services.hl7_listener.kept import TOLD
from services.hl7_listener.record import Commit, Kept

PARTITION: Final = 0  # for events of no bed
EACH_S: Final = 1.0
AT_ONCE: Final = 256


class Teller:
    """Tells the log of one listener and its journal."""

    def __init__(self, journal: Journal, listener: str, codes: Mapping[str, CodeSet], clock: Clock) -> None:
        """Go on behind what the journal says was told."""
        self._journal, self._clock = journal, clock
        self._actor = f"hl7_listener:{listener}"
        self._reader = JournalReader(journal.folder)
        self._told = int(self._reader.kept(TOLD).get(TOLD, -1))
        self._looked_s = -EACH_S
        mappings: list[dict[str, Scalar]] = [{"mapping": name, "digest": found.digest} for name, found in sorted(codes.items())]
        self._waiting = [self._event(EventKind.LISTENER_STARTED, clock.now(), about) for about in mappings or [{}]]

    def loaded(self, mapping: str, codes: CodeSet) -> None:
        """Tell, with the next moves, that from now on another file of a mapping is in use."""
        about: dict[str, Scalar] = {"mapping": mapping, "digest": codes.digest}
        self._waiting.append(self._event(EventKind.MAPPING_LOADED, self._clock.now(), about))

    async def begin(self, streams: Streams) -> None:
        """Tell, once a process and before any of its messages, that it runs; RedisDown leaves it to the next call."""
        while self._waiting:
            await streams.event(PARTITION, self._waiting[0])
            del self._waiting[0]

    async def tell(self, streams: Streams) -> None:
        """Tell, at most each second, of the moves that were journaled since and moved nobody."""
        if self._clock.monotonic_s() - self._looked_s < EACH_S:
            return
        self._looked_s = self._clock.monotonic_s()
        await self.begin(streams)
        found = await asyncio.to_thread(self._reader.unapplied, self._told, AT_ONCE)
        for row in found:
            about: dict[str, Scalar] = {"sequence": row.sequence, "source": row.source, "type": row.message_type, "code": row.code}
            await streams.event(PARTITION, self._event(EventKind.ADT_NOT_APPLIED, instant(row.received_at_us), about))
        if found:
            self._told = found[-1].sequence
            self._journal.commit(Commit(kept=(Kept(TOLD, TOLD, str(self._told)),)), self._clock.now())

    def _event(self, kind: EventKind, at: datetime, about: Mapping[str, Scalar]) -> bytes:
        return Event(kind, at, self._actor, about={"generation": self._journal.generation, **about}).encode()
