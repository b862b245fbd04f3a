"""The MLLP server: who may connect, and what becomes of connections. Limits keep one bad peer from harming the others."""

import asyncio
import contextlib
import resource
import socket
from collections import Counter
from typing import Final

from backbone.telemetry import logger
from services.hl7_listener import metrics
from services.hl7_listener.conversation import READ_BYTES, Conversation
from services.hl7_listener.intake import Intake
from services.hl7_listener.journal import JournalFailed
from services.hl7_listener.limits import PeerLimits
from services.hl7_listener.rate import Rates

BACKLOG: Final = 1024  # devices that connect again all at once, as after a switch was replaced
OTHER_FILES: Final = 128  # journal, streams, inspection and the interpreter's own
KEEP_ALIVE_PROBES: Final = 3


class MllpServer:
    """Accepts devices on one address."""

    def __init__(self, intake: Intake, limits: PeerLimits) -> None:
        """Serve an intake."""
        self._intake, self._limits = intake, limits
        self._rates = Rates(source_hz=limits.source_hz, strangers_hz=limits.strangers_hz)
        self._connections = limits.connections
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._addresses: Counter[str] = Counter()

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port (a free one for port 0)."""
        self._connections = min(self._limits.connections, _files_for(self._limits.connections))
        self._server = await asyncio.start_server(self._connected, host, port, limit=READ_BYTES, backlog=BACKLOG)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Accept nobody any more and let go of who is connected; what was taken is journaled, whether answered or not."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address, port = (writer.get_extra_info("peername") or ("", 0))[:2]  # none: it has hung up already
        if limit := self._limit_reached(address):
            metrics.TURNED_AWAY.labels(limit).inc()
            logger().warning("connection_refused", peer=address, limit=limit)
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._addresses[address] += 1
        metrics.CONNECTIONS.set(len(self._tasks))
        try:
            await self._converse(reader, writer, f"{address}:{port}")
        finally:
            self._tasks.discard(task)
            self._addresses -= Counter([address])  # drops an address without connections
            metrics.CONNECTIONS.set(len(self._tasks))

    def _limit_reached(self, address: str) -> str:
        """Return the name of the limit that one more connection would break; empty when it may come."""
        if len(self._tasks) >= self._connections:
            return "all"
        return "address" if self._addresses[address] >= self._limits.connections_per_address else ""

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
        logger().info("connected", peer=peer)
        try:
            _keep_alive(writer.get_extra_info("socket"), self._limits.keep_alive_s)
            await Conversation(self._intake, self._limits, self._rates, reader, writer).hold()
        except (OSError, TimeoutError, JournalFailed) as fault:
            logger().warning("connection_lost", peer=peer, error_type=type(fault).__name__)
            writer.transport.abort()
        except asyncio.CancelledError:
            # The server closes. Ending the task quietly keeps asyncio's stream protocol from reporting it as a fault.
            logger().info("connection_closed", peer=peer)
        finally:
            with contextlib.suppress(OSError):
                writer.close()
            # A peer that takes nothing keeps the last answers, and with them the connection, for no longer than this.
            asyncio.get_running_loop().call_later(self._limits.answer_s, writer.transport.abort)
        logger().info("disconnected", peer=peer)


def _files_for(connections: int) -> int:
    """Let the process open as many files as the connections need; return how many connections there can be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OTHER_FILES
    granted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < granted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    if granted < wanted:
        logger().warning("too_few_files", limit=hard, count=granted - OTHER_FILES)
    return granted - OTHER_FILES


def _keep_alive(connection: socket.socket, silent_s: float) -> None:
    """Let the kernel find peers that are gone: hospital networks cut silent connections without a word."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", silent_s), ("TCP_KEEPINTVL", silent_s / KEEP_ALIVE_PROBES), ("TCP_KEEPCNT", KEEP_ALIVE_PROBES)):
        if hasattr(socket, option):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), max(1, round(value)))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
