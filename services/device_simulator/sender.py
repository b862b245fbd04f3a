"""One MLLP connection of one device: sends in order, waits for the acknowledgement, reconnects and repeats until it has one."""

import asyncio
import contextlib
from dataclasses import dataclass

from backbone.clock import Clock
from backbone.telemetry import logger
from services.device_simulator import hl7
from services.device_simulator.log import Delivery, SentLog
from services.device_simulator.room import Outgoing

FIRST_BACKOFF_S = 0.1
LONGEST_ACK = 65536


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom to send to, and how patient to be."""

    host: str
    port: int
    connect_timeout_s: float = 3.0
    ack_timeout_s: float = 5.0
    longest_backoff_s: float = 5.0
    queue_messages: int = 900


class Sender:
    """A device's connection. Messages go out one at a time; the next waits for the answer to the last."""

    def __init__(self, peer: Peer, log: SentLog, clock: Clock) -> None:
        self._peer, self._log, self._clock = peer, log, clock
        self._queue: asyncio.Queue[tuple[Delivery, asyncio.Future[str]]] = asyncio.Queue(peer.queue_messages)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def waiting(self) -> int:
        """How many messages wait to be sent."""
        return self._queue.qsize()

    def post(self, message: Outgoing) -> asyncio.Future[str]:
        """Queue a message and return what will hold its final answer. A full queue drops it, as a device does, and says so in the log."""
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        delivery = Delivery(message)
        try:
            self._queue.put_nowait((delivery, answer))
        except asyncio.QueueFull:
            self._log.unsettled(delivery)
            answer.cancel()
        return answer

    async def drained(self) -> None:
        """Return when everything that was queued is answered."""
        await self._queue.join()

    async def run(self) -> None:
        """Send for ever. What is still without an answer when this is cancelled stands in the log as dropped."""
        current: Delivery | None = None
        try:
            while True:
                current, answer = await self._queue.get()
                code = await self._delivered(current)
                self._log.settled(current, positive=code in hl7.POSITIVE)
                current = None
                if not answer.done():
                    answer.set_result(code)
                self._queue.task_done()
        finally:
            self._hang_up()
            if current is not None:
                self._log.unsettled(current)
            while not self._queue.empty():
                self._log.unsettled(self._queue.get_nowait()[0])

    async def _delivered(self, delivery: Delivery) -> str:
        """Return the final answer to a message, sent as often as that takes."""
        backoff_s, wanted = FIRST_BACKOFF_S, delivery.message.copies
        while True:
            try:
                code = await self._exchange(delivery)
            except (OSError, EOFError, asyncio.LimitOverrunError, hl7.BadAck) as fault:  # TimeoutError is an OSError
                self._hang_up()
                logger().warning("message_repeated", room=delivery.message.room, error_type=type(fault).__name__, backoff_s=backoff_s)
            else:
                if code in hl7.POSITIVE:
                    wanted -= 1
                if wanted <= 0 or code not in hl7.POSITIVE | hl7.REPEATABLE:
                    delivery.ack, delivery.acked = code, self._clock.now()
                    return code
                if code in hl7.POSITIVE:
                    continue
            await asyncio.sleep(backoff_s)
            backoff_s = min(2.0 * backoff_s, self._peer.longest_backoff_s)

    async def _exchange(self, delivery: Delivery) -> str:
        """Send once and return MSA-1."""
        reader, writer = await self._connected()
        delivery.deliveries += 1
        if delivery.first_sent is None:
            delivery.first_sent = self._clock.now()
            self._log.observed(delivery.message)
        writer.write(hl7.framed(delivery.message.payload))
        async with asyncio.timeout(self._peer.ack_timeout_s):
            await writer.drain()
            answer = await reader.readuntil(hl7.FS + hl7.CR)
        return hl7.ack_of(answer, delivery.message.control_id)

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None:
            async with asyncio.timeout(self._peer.connect_timeout_s):
                self._reader, self._writer = await asyncio.open_connection(self._peer.host, self._peer.port, limit=LONGEST_ACK)
        return self._reader, self._writer

    def _hang_up(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(OSError, RuntimeError):  # a closed loop or peer needs no goodbye
                self._writer.close()
        self._reader = self._writer = None
