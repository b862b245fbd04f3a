"""The past half of the wall, from PostgreSQL: the trend on load, and how far the ledger is."""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from math import ceil, floor
from typing import Final, TypeVar

from anesthesia.errors import SoporError
from anesthesia.reading import Bed
from backbone.database import DatabaseDown, Reader, Scored
from services.web.wall import shown

T = TypeVar("T")
TREND_S: Final = 15 * 60
AT_ONCE: Final = 3


class HistoryDown(SoporError):
    """PostgreSQL does not answer now; the live half goes on without it."""


@dataclass(slots=True)
class Run:
    """Scored seconds of one tier without a gap: the k-th value is that of second `start + k`."""

    tier: str
    start: int
    values: list[int]
    lows: list[int]
    highs: list[int]


def runs_of(scored: Iterable[Scored]) -> list[Run]:
    """Return the runs of rising seconds; a second that is missing, or another tier, begins a new run."""
    runs: list[Run] = []
    for one in scored:
        last = runs[-1] if runs else None
        if last is None or last.tier != one.tier or last.start + len(last.values) != one.second:
            last = Run(one.tier, one.second, [], [], [])
            runs.append(last)
        last.values.append(shown(one.value))
        last.lows.append(floor(one.low))
        last.highs.append(ceil(one.high))
    return runs


class History:
    """Reads in worker threads, each answer with a deadline."""

    def __init__(self, reader: Reader, deadline_s: float) -> None:
        """Take a Reader; nothing connects yet."""
        self._reader, self._deadline_s = reader, deadline_s
        self._position_thread = ThreadPoolExecutor(1, thread_name_prefix="position")
        self._trend_threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="trend")

    async def positions(self) -> dict[int, str]:
        """Return how far the ledger is in each partition."""
        return await self._ask(self._position_thread, self._reader.positions)

    async def trend(self, bed: Bed, *, since: int) -> list[dict[str, object]]:
        """Return the runs of a bed from a Unix second on."""
        scored = await self._ask(self._trend_threads, lambda: self._reader.scored(bed, since=since))
        return [asdict(run) for run in runs_of(scored)]

    def close(self) -> None:
        """Wait for no one: a thread that hangs dies with the process."""
        for threads in (self._position_thread, self._trend_threads):
            threads.shutdown(wait=False, cancel_futures=True)
        self._reader.close()

    async def _ask(self, threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        answer = asyncio.get_running_loop().run_in_executor(threads, work)
        try:
            return await asyncio.wait_for(answer, self._deadline_s)
        except (DatabaseDown, TimeoutError) as fault:
            raise HistoryDown("past records cannot be read now: the database does not answer") from fault
