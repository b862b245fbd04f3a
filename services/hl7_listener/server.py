"""The MLLP server: connections in, decisions of the intake out, answers in order. Limits keep one bad peer from harming the others."""

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from typing import Final

from backbone.telemetry import logger
from services.hl7_listener import metrics
from services.hl7_listener.intake import Decision, Intake
from services.hl7_listener.journal import JournalFailed
from services.hl7_listener.mllp import Block, Decoder, Fault, block_of

READ_BYTES: Final = 64 * 1024
KEEPALIVE_S: Final = 60


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What a peer may do."""

    idle_s: float
    frame_s: float  # from the first byte of a message to its last
    answer_s: float  # for taking an answer off our hands
    message_bytes: int
    connections: int


class _Deadline:
    """How long a connection may be silent: long between messages, short inside one."""

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._begun_s: float | None = None

    def heard(self, now_s: float, *, pending: bool, completed: bool) -> None:
        """Note what the newest bytes did."""
        if not pending:
            self._begun_s = None
        elif completed or self._begun_s is None:
            self._begun_s = now_s

    def left_s(self, now_s: float) -> float:
        """Return how long to wait for more."""
        if self._begun_s is None:
            return self._limits.idle_s
        return max(0.0, self._begun_s + self._limits.frame_s - now_s)


class MllpServer:
    """Accepts devices on one address."""

    def __init__(self, intake: Intake, limits: ServerLimits) -> None:
        """Serve an intake."""
        self._intake, self._limits = intake, limits
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port (a free one for port 0)."""
        self._server = await asyncio.start_server(self._connected, host, port, limit=READ_BYTES)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Accept nobody any more and let go of who is connected; what was taken is journaled, whether answered or not."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._tasks) >= self._limits.connections:
            logger().warning("connection_refused", limit=self._limits.connections)
            writer.close()
            return
        self._tasks.add(task)
        metrics.CONNECTIONS.set(len(self._tasks))
        _keep_alive(writer)
        peer = "{}:{}".format(*writer.get_extra_info("peername")[:2])
        logger().info("connected", peer=peer)
        try:
            await self._converse(reader, writer)
        except (OSError, TimeoutError, JournalFailed) as fault:
            logger().warning("connection_lost", peer=peer, error_type=type(fault).__name__)
        except asyncio.CancelledError:
            # The server closes. Ending the task quietly keeps asyncio's stream protocol from reporting it as a fault.
            logger().info("connection_closed", peer=peer)
        finally:
            self._tasks.discard(task)
            metrics.CONNECTIONS.set(len(self._tasks))
            with contextlib.suppress(OSError):
                writer.close()
        logger().info("disconnected", peer=peer)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        decoder, deadline = Decoder(self._limits.message_bytes), _Deadline(self._limits)
        while True:
            try:
                async with asyncio.timeout(deadline.left_s(loop.time())):
                    received = await reader.read(READ_BYTES)
            except TimeoutError:
                received = b""
            items = decoder.feed(received) if received else decoder.end()
            deadline.heard(loop.time(), pending=decoder.pending, completed=bool(items))
            await self._answer(items, writer)
            if not received:
                return

    async def _answer(self, items: list[Block | Fault], writer: asyncio.StreamWriter) -> None:
        """Take all that came at once, then answer in order as each is on the disk."""
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        decisions = [decision for item in items if (decision := self._intake.take(item)) is not None]
        for decision in decisions:
            await self._answer_one(decision, writer)
            metrics.ANSWER_SECONDS.observe(loop.time() - begun_s)

    async def _answer_one(self, decision: Decision, writer: asyncio.StreamWriter) -> None:
        if decision.done is not None:
            await asyncio.shield(decision.done)
        answer = self._intake.answer_bytes(decision)
        if answer is not None:
            writer.write(block_of(answer))
            async with asyncio.timeout(self._limits.answer_s):
                await writer.drain()


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    """Let the kernel find peers that are gone: hospital networks cut silent connections without a word."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
        if hasattr(socket, option):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), KEEPALIVE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
