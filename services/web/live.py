"""The live half of the wall: XREAD once for all, encode once for all, fan out to every page.

Three kinds of message, each one JSON object: `wall` (everything; the first of every connection), `rooms` (what changed) and `beat`
(each second). Every one carries the server's time, so that the page can tell how old what it hears is.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Final, NoReturn

from anesthesia.errors import BadWire
from anesthesia.prediction import Record
from anesthesia.reading import Bed
from backbone.clock import Clock
from backbone.redis.streams import PARTITIONS, Entry, RedisDown, Streams, key, moment_of, partition_of
from backbone.site import SiteFile
from backbone.telemetry import counter, gauge, logger
from backbone.wire import unpack_record
from services.web.history import History, HistoryDown
from services.web.lag import LedgerLag
from services.web.wall import Point, RoomView, Wall, milliseconds, point_of

STREAM: Final = "predictions"
BACK_S: Final = 300  # how far back a start reads; more than the longest bound of an ordinary feed
BLOCK_MS: Final = 500  # also how often an idle stream proves that it answers
GATHER_S: Final = 0.2  # entries that come within this time travel together
BEAT_S: Final = 1.0
LONGEST_PAUSE_S: Final = 5.0
WAITING_AT_MOST: Final = 64  # messages for one page; who does not take them is cut off and begins anew

VIEWERS = gauge("web_viewers", "Pages that follow now")
DROPPED = counter("web_viewers_dropped", "Pages cut off because they did not take their messages")
UNREADABLE = counter("web_unreadable", "Stream entries that do not decode")
ELSEWHERE = counter("web_elsewhere", "Records of beds that the site file does not have")

Message = bytes


class TooManyViewers(Exception):
    """As many pages follow as the settings allow."""


def event(kind: str, body: dict[str, object]) -> Message:
    """Return one message of the stream, in the form of server-sent events."""
    return f"event: {kind}\ndata: {json.dumps(body, separators=(',', ':'), ensure_ascii=False)}\n\n".encode()


class Live:
    """The wall as it is now, and the pages that follow it."""

    def __init__(self, site: SiteFile, streams: Streams, history: History, clock: Clock, *, most_viewers: int) -> None:
        """Take the connections; nothing is read yet."""
        self._site, self._streams, self._history, self._clock = site, streams, history, clock
        self._most_viewers = most_viewers
        self.wall = Wall(tuple(Bed(site.site, bed.name) for bed in site.bed))
        self._lag = LedgerLag()
        self._behind: frozenset[int] = frozenset()
        self._viewers: set[asyncio.Queue[Message | None]] = set()
        self._after = self._start()
        self._answered_ms = 0
        self.database_answers = False

    def now_ms(self) -> int:
        """Return the server's time."""
        return milliseconds(self._clock.now())

    @property
    def feed_age_s(self) -> float:
        """How long ago the streams answered last."""
        return (self.now_ms() - self._answered_ms) / 1000

    def snapshot(self) -> dict[str, object]:
        """Return everything that a page needs to begin."""
        return {
            **self._beat(),
            "site": self._site.site,
            "mode": str(self._site.mode),
            "rooms": [asdict(view) for view in self.wall.views],
        }

    async def messages(self) -> AsyncGenerator[Message, None]:
        """Yield the messages for one page: first everything, then each change, until it is cut off or the wall stops."""
        if len(self._viewers) >= self._most_viewers:
            raise TooManyViewers
        with self._following() as queue:
            yield event("wall", self.snapshot())
            while (message := await queue.get()) is not None:
                yield message

    def stop(self) -> None:
        """Cut every page off."""
        for queue in tuple(self._viewers):
            self._cut(queue)

    async def follow(self) -> NoReturn:
        """Read the streams for ever and tell the pages."""
        failures = 0
        while True:
            try:
                await self._catch_up()
                while True:
                    await self._step()
                    failures = 0
            except RedisDown as fault:
                failures += 1
                backoff_s = min(LONGEST_PAUSE_S, 0.25 * 2.0 ** min(failures - 1, 10))
                logger().warning("peer_down", target="redis", error=str(fault), attempts=failures, backoff_s=backoff_s)
                await asyncio.sleep(backoff_s)

    async def beat(self) -> NoReturn:
        """Tell every page each second that the server lives, and what time it has."""
        while True:
            self._tell(event("beat", self._beat()))
            await asyncio.sleep(BEAT_S)

    async def watch_ledger(self) -> NoReturn:
        """Ask each second how far the ledger is."""
        while True:
            try:
                self._lag.told(await self._history.positions())
                self.database_answers = True
            except HistoryDown:
                self.database_answers = False
            self._behind = self._lag.behind(self._clock.monotonic_s())
            await asyncio.sleep(BEAT_S)

    def _start(self) -> dict[str, str]:
        at = f"{milliseconds(self._clock.now()) - BACK_S * 1000}-0"
        return {key(partition, STREAM): at for partition in range(PARTITIONS)}

    async def _catch_up(self) -> None:
        while entries := await self._streams.read(self._after, block_ms=0):
            self._show(entries)
        self._answered_ms = self.now_ms()

    async def _step(self) -> None:
        entries = await self._streams.read(self._after, block_ms=BLOCK_MS)
        self._answered_ms = self.now_ms()
        if entries:
            self._show(entries)
            await asyncio.sleep(GATHER_S)

    def _show(self, entries: Sequence[Entry]) -> None:
        views: dict[str, RoomView] = {}
        points: dict[str, list[Point]] = {}
        for record, recorded_ms in self._records(entries):
            view = self.wall.fold(record, recorded_ms)
            if view is None:
                continue
            views[view.bed] = view
            point = point_of(record)
            if point is not None:
                points.setdefault(view.bed, []).append(point)
        if views and self._viewers:
            body = {**self._beat(), "rooms": [asdict(view) for view in views.values()], "points": points}
            self._tell(event("rooms", body))

    def _records(self, entries: Iterable[Entry]) -> Iterable[tuple[Record, int]]:
        partitions = {key(partition, STREAM): partition for partition in range(PARTITIONS)}
        for entry in entries:
            self._after[entry.key] = entry.entry_id
            self._lag.saw(partitions[entry.key], entry.entry_id)
            try:
                record = unpack_record(entry.fields.get(b"r", b""))
            except BadWire:
                UNREADABLE.inc()
                continue
            if self.wall.knows(record.of.bed):
                yield record, moment_of(entry.entry_id)[0]
            else:
                ELSEWHERE.inc()

    def _beat(self) -> dict[str, object]:
        late = [bed.name for bed in self._site.bed if partition_of(Bed(self._site.site, bed.name)) in self._behind]
        return {"now_ms": self.now_ms(), "feed_ms": self._answered_ms, "unrecorded": late}

    @contextmanager
    def _following(self) -> Iterator["asyncio.Queue[Message | None]"]:
        queue: asyncio.Queue[Message | None] = asyncio.Queue(WAITING_AT_MOST + 1)
        self._viewers.add(queue)
        VIEWERS.set(len(self._viewers))
        try:
            yield queue
        finally:
            self._viewers.discard(queue)
            VIEWERS.set(len(self._viewers))

    def _tell(self, message: Message) -> None:
        for queue in tuple(self._viewers):
            if queue.qsize() >= WAITING_AT_MOST:
                DROPPED.inc()
                self._cut(queue)
            else:
                queue.put_nowait(message)

    def _cut(self, queue: "asyncio.Queue[Message | None]") -> None:
        self._viewers.discard(queue)
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(None)
