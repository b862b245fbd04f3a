"""A scripted MLLP receiver: it acknowledges, delays, refuses, stays silent or hangs up, and keeps what it was sent."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True)
class Received:
    """One message as it came in."""

    payload: bytes

    @property
    def segments(self) -> list[list[str]]:
        return [segment.split("|") for segment in self.payload.decode().split("\r") if segment]

    def field(self, segment: str, number: int) -> str:
        """Return a field of the first such segment by its HL7 number."""
        fields = next(fields for fields in self.segments if fields[0] == segment)
        number -= segment == "MSH"
        return fields[number] if number < len(fields) else ""

    @property
    def rows(self) -> list[list[str]]:
        return [fields for fields in self.segments if fields[0] == "OBX"]


@dataclass
class MllpPeer:
    """`script` names what happens to the first messages, one word each: AA, AE, AR, silence, hang_up, wrong. Then it accepts."""

    script: Iterable[str] = ()
    delay_s: float = 0.0
    received: list[Received] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._script = list(self.script)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until(self, count: int, within_s: float = 10.0) -> None:
        async with asyncio.timeout(within_s):
            while len(self.received) < count:  # noqa: ASYNC110  a count, not an event, is waited for
                await asyncio.sleep(0.01)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with suppress(EOFError, OSError, asyncio.CancelledError):
            while True:
                frame = await reader.readuntil(b"\x1c\r")
                assert frame.startswith(b"\x0b")
                message = Received(frame[1:-2])
                self.received.append(message)
                if not await self._answered(message, writer):
                    break
        writer.close()

    async def _answered(self, message: Received, writer: asyncio.StreamWriter) -> bool:
        word = self._script.pop(0) if self._script else "AA"
        if word == "hang_up":
            return False
        if word == "silence":
            return True
        await asyncio.sleep(self.delay_s)
        control_id = "another" if word == "wrong" else message.field("MSH", 10)
        code = "AA" if word == "wrong" else word
        if message.field("MSH", 15) == "AL":
            code = "C" + code[1]
        ack = f"MSH|^~\\&|PEER|X|SIM|Y|20261121000000+0000||ACK|1|T|2.6\rMSA|{code}|{control_id}\r"
        writer.write(b"\x0b" + ack.encode() + b"\x1c\r")
        await writer.drain()
        return True
