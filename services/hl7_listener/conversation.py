"""One connection: bytes in, decisions of the intake out, answers in order. Who is too fast is heard later."""

import asyncio
from typing import Final

from services.hl7_listener import metrics
from services.hl7_listener.intake import Decision, Intake
from services.hl7_listener.limits import PeerLimits
from services.hl7_listener.mllp import Block, Decoder, Fault, block_of
from services.hl7_listener.rate import Rates

READ_BYTES: Final = 64 * 1024
AT_ONCE: Final = 64  # messages of one connection before others have their turn


class _Deadline:
    """How long a peer may be silent: long from one message to the next, short inside one. What is no message keeps nothing open."""

    def __init__(self, limits: PeerLimits, now_s: float) -> None:
        self._limits = limits
        self._message_s = now_s
        self._begun_s: float | None = None

    def heard(self, now_s: float, *, pending: bool, completed: bool, message: bool) -> None:
        """Note what the newest bytes did."""
        if message:
            self._message_s = now_s
        if not pending:
            self._begun_s = None
        elif completed or self._begun_s is None:
            self._begun_s = now_s

    def left_s(self, now_s: float) -> float:
        """Return how long to wait for more."""
        end_s = self._message_s + self._limits.idle_s
        if self._begun_s is not None:
            end_s = min(end_s, self._begun_s + self._limits.frame_s)
        return max(0.0, end_s - now_s)


class Conversation:
    """Hears one peer and answers it."""

    def __init__(
        self, intake: Intake, limits: PeerLimits, rates: Rates, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Begin; `rates` is shared by all."""
        self._intake, self._limits, self._rates = intake, limits, rates
        self._reader, self._writer = reader, writer
        self._loop = asyncio.get_running_loop()
        self._decoder = Decoder(limits.message_bytes)
        self._source = ""  # of the last message that had a known one

    async def hold(self) -> None:
        """Go on until the peer ends it or is out of time; TimeoutError when it takes no answers."""
        deadline = _Deadline(self._limits, self._loop.time())
        while True:
            left_s = deadline.left_s(self._loop.time())
            rests = self._limits.rest_s < left_s and self._ends_at_rest()
            received = await self._read(self._limits.rest_s if rests else left_s)
            items = self._decoder.feed(received) if received else self._decoder.end()
            message = await self._answer(items)
            if not received and not (received is None and rests):
                return
            deadline.heard(self._loop.time(), pending=self._decoder.pending, completed=bool(items), message=message)

    async def _read(self, within_s: float) -> bytes | None:
        """Return what came, nothing at the end (also when the peer reset the connection), and None when the time is over."""
        try:
            async with asyncio.timeout(within_s):
                return await self._reader.read(READ_BYTES)
        except TimeoutError:
            return None
        except ConnectionError:
            return b""

    def _ends_at_rest(self) -> bool:
        item = self._decoder.ending
        return item is not None and self._intake.ends_at_rest(item)

    async def _answer(self, items: list[Block | Fault]) -> bool:
        """Take what came at once and answer in order as each is on the disk; tell whether there was a message."""
        message = False
        for first in range(0, len(items), AT_ONCE):
            begun_s = self._loop.time()
            decisions, wait_s = self._decide(items[first : first + AT_ONCE])
            for decision in decisions:
                await self._answer_one(decision)
                metrics.ANSWER_SECONDS.observe(self._loop.time() - begun_s)
            metrics.PACED_SECONDS.labels(self._source).inc(wait_s)
            await asyncio.sleep(wait_s)
            message = message or bool(decisions)
        return message

    def _decide(self, items: list[Block | Fault]) -> tuple[list[Decision], float]:
        """Return the decisions, and how long not to listen then."""
        found, wait_s, now_s = [], 0.0, self._loop.time()
        for item in items:
            decision = self._intake.take(item, self._source)
            if decision is not None:
                found.append(decision)
                self._source = decision.source or self._source
            source = self._source if decision is None else decision.source
            size = len(item.content) if isinstance(item, Block) else item.size
            wait_s = max(wait_s, self._rates.spend(source, size, now_s))
        return found, wait_s

    async def _answer_one(self, decision: Decision) -> None:
        if decision.done is not None:
            await asyncio.shield(decision.done)
        answer = self._intake.answer_bytes(decision)
        if answer is not None:
            self._writer.write(block_of(answer))
            async with asyncio.timeout(self._limits.answer_s):
                await self._writer.drain()
