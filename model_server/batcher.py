"""Work-conserving batches: run at once what queued while the last batch ran. No timer, no waiting for company."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from anesthesia.errors import SoporError
from backbone.clock import Clock
from backbone.telemetry import counter, histogram
from model_server.runner import Scored
from model_server.statistics import Statistics
from model_server.tensors import NotFinite, Window

LARGEST_BATCH = 32
BATCHES = counter("model_batches", "Batches run")
WINDOWS = counter("model_windows", "Windows scored", "outcome")
COMPUTE = histogram("model_compute_seconds", "Time of one batch in the model")

Run = Callable[[Sequence[Window]], list[Scored | NotFinite]]


class Overloaded(SoporError):
    """Too many windows wait; the caller should call again later or use another replica."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came out for one window, and how long it waited and ran."""

    result: Scored | NotFinite
    queue_us: int
    compute_us: int


@dataclass(frozen=True, slots=True)
class _Waiting:
    window: Window
    since_s: float
    answer: asyncio.Future[Answer]


class Batcher:
    """Joins concurrent windows for one runner, which runs in a thread of its own."""

    def __init__(self, run: Run, clock: Clock, *, most_waiting: int) -> None:
        """Prepare; nothing runs before `work`."""
        self._run, self._clock, self._most_waiting = run, clock, most_waiting
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self.statistics = Statistics()

    async def score(self, window: Window) -> Answer:
        """Return the answer for a window; raise Overloaded at once when the queue is full."""
        return (await self.score_all([window]))[0]

    async def score_all(self, windows: Sequence[Window]) -> list[Answer]:
        """Return the answers for one request's windows, in order; raise Overloaded at once when the queue has no place for all of them."""
        since_s = self._clock.monotonic_s()
        outcome = self.statistics.failed
        try:
            answers = await self._queued(windows, since_s)
            outcome = self.statistics.succeeded
            return answers
        finally:
            outcome.add(self._clock.monotonic_s() - since_s)

    async def _queued(self, windows: Sequence[Window], since_s: float) -> list[Answer]:
        """Queue all windows or none; one that is cancelled here is not run."""
        if len(self._waiting) + len(windows) > self._most_waiting:
            raise Overloaded(f"{len(self._waiting)} windows wait, {self._most_waiting} may")
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(window, since_s, loop.create_future()) for window in windows]
        self._waiting.extend(waiting)
        self._arrived.set()
        return await asyncio.gather(*(each.answer for each in waiting))

    async def work(self) -> None:
        """Run batches until cancelled."""
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="model") as thread:
            while True:
                await self._arrived.wait()
                batch = self._next_batch()
                if batch:
                    await self._answer(batch, thread)

    def _next_batch(self) -> list[_Waiting]:
        """Take what waits, up to the largest batch; callers that gave up are left out."""
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < LARGEST_BATCH:
            first = self._waiting.popleft()
            if not first.answer.done():
                batch.append(first)
        if not self._waiting:
            self._arrived.clear()
        return batch

    async def _answer(self, batch: list[_Waiting], thread: ThreadPoolExecutor) -> None:
        started_s = self._clock.monotonic_s()
        loop = asyncio.get_running_loop()
        results = await loop.run_in_executor(thread, self._run, [waiting.window for waiting in batch])
        compute_s = self._clock.monotonic_s() - started_s
        BATCHES.inc()
        COMPUTE.observe(compute_s)
        self.statistics.ran(len(batch), compute_s, self._clock.now())
        for waiting, result in zip(batch, results, strict=True):
            queue_s = started_s - waiting.since_s
            WINDOWS.labels("scored" if isinstance(result, Scored) else "not_finite").inc()
            self.statistics.queued.add(queue_s)
            self.statistics.computed.add(compute_s)
            if not waiting.answer.done():
                waiting.answer.set_result(Answer(result, round(queue_s * 1e6), round(compute_s * 1e6)))
