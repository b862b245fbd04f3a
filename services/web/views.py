"""Who looked: an event for the audit log when a viewer opens the wall, and for each room whose past they view.

The wall shows no identity, so a view never waits for the log: events are handed in beside it, and again until PostgreSQL takes them. What
finds no room to wait, or still waits when the process ends, is counted and logged as missed.
"""

import asyncio
import hashlib
from collections import OrderedDict, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, NoReturn

from sqlalchemy import insert
from sqlalchemy.pool import QueuePool

from anesthesia.leaf import Event, EventKind, Scalar
from anesthesia.reading import Bed
from backbone.clock import Clock
from backbone.database import DatabaseDown, answering, engine_of
from backbone.tables import IntakeRow
from backbone.telemetry import counter, logger

ACTOR: Final = "loopback"  # there is no login yet, and nobody else is served
SAME_SESSION_S: Final = 600.0
MOST_SESSIONS: Final = 1000
MOST_WAITING: Final = 1000
PAUSE_S: Final = 2.0
NAME_CHARACTERS: Final = 12

MISSED = counter("web_views_missed", "Views that have no leaf: PostgreSQL was away for too long")


def viewer_of(address: str, browser: str) -> str:
    """Return a viewer's name in the log: the same for the same address and browser."""
    return hashlib.sha256(f"{address}\0{browser}".encode()).hexdigest()[:NAME_CHARACTERS]


@dataclass(slots=True)
class Session:
    """One viewer's visit: it goes on while less than ten minutes lie between two of their requests."""

    seen_s: float
    beds: set[str] = field(default_factory=set)


class Views:
    """The sessions of now, and their events on the way to the log."""

    def __init__(self, database_url: str, site: str, clock: Clock) -> None:
        """Connect later, when there is something to hand in."""
        self._site, self._clock = site, clock
        self._engine = engine_of(database_url, pool=QueuePool)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="views")
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._waiting: deque[Event] = deque()
        self._news = asyncio.Event()

    def opened(self, viewer: str) -> None:
        """Note that a viewer sees the wall; only the first time in a session it is news."""
        self._session(viewer)

    def viewed(self, viewer: str, bed: Bed) -> None:
        """Note that a viewer sees a room's past; only the first time in a session it is news."""
        session = self._session(viewer)
        if bed.name not in session.beds:
            session.beds.add(bed.name)
            self._note(EventKind.HISTORY_VIEWED, {"viewer": viewer, "site": bed.site, "bed": bed.name})

    async def hand_in(self) -> NoReturn:
        """Hand each event to the ledger, for ever, through every outage of PostgreSQL."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                if await asyncio.get_running_loop().run_in_executor(self._thread, self._taken, self._waiting[0]):
                    self._waiting.popleft()
                else:
                    await asyncio.sleep(PAUSE_S)

    def close(self) -> None:
        """Give the connection back; what still waits is missed."""
        self._miss(len(self._waiting))
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._engine.dispose()

    def _session(self, viewer: str) -> Session:
        now_s = self._clock.monotonic_s()
        session = self._sessions.pop(viewer, None)
        if session is None or now_s - session.seen_s > SAME_SESSION_S:
            session = Session(now_s)
            self._note(EventKind.WALL_OPENED, {"viewer": viewer, "site": self._site})
        session.seen_s = now_s
        self._sessions[viewer] = session
        if len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return session

    def _note(self, kind: EventKind, about: dict[str, Scalar]) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self._miss(1)
            return
        self._waiting.append(Event(kind, self._clock.now(), ACTOR, about=about))
        self._news.set()

    def _miss(self, count: int) -> None:
        if count:
            MISSED.inc(count)
            logger().error("views_missed", count=count)

    def _taken(self, event: Event) -> bool:
        try:
            with answering(), self._engine.begin() as connection:
                connection.execute(insert(IntakeRow).values(entry=event.encode()))
        except DatabaseDown as fault:
            logger().warning("peer_down", target="postgresql", error=str(fault))
            return False
        return True
