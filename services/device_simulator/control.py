"""The control socket: one JSON line in, one JSON line out."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from services.device_simulator.faults import BadCommand, Command, command_of

IDLE_S = 60.0


class Obedient(Protocol):
    """What the socket commands."""

    def obey(self, command: Command) -> None:
        """Let a fault happen."""
        ...

    def status(self) -> dict[str, object]:
        """Tell how things are."""
        ...


def answer_to(line: bytes, rooms: Obedient) -> dict[str, object]:
    """Return what one line is answered with; a wrong line is answered too."""
    try:
        fields: Any = json.loads(line)
        if not isinstance(fields, dict):
            return {"ok": False, "error": "a JSON object is needed"}
        if fields.get("fault") == "status":
            return {"ok": True, **rooms.status()}
        rooms.obey(command_of(fields))
    except (ValueError, BadCommand) as fault:
        return {"ok": False, "error": str(fault)}
    return {"ok": True}


@asynccontextmanager
async def control_socket(path: Path | None, rooms: Obedient) -> AsyncIterator[None]:
    """Serve commands while the block runs; without a path there is no socket."""
    if path is None:
        yield
        return

    talks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (task := asyncio.current_task()) is not None:
            talks.add(task)
            task.add_done_callback(talks.discard)
        # A line without end, a peer that is gone, the end of the process: each ends the talk, none the rooms.
        with contextlib.suppress(OSError, ValueError, asyncio.CancelledError):
            while line := await asyncio.wait_for(reader.readline(), IDLE_S):
                writer.write(json.dumps(answer_to(line, rooms)).encode() + b"\n")
                await writer.drain()
        writer.close()

    path.unlink(missing_ok=True)  # noqa: ASYNC240  one call at start
    server = await asyncio.start_unix_server(serve, path)
    path.chmod(0o600)  # noqa: ASYNC240
    try:
        yield
    finally:
        server.close()
        for talk in tuple(talks):
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        path.unlink(missing_ok=True)  # noqa: ASYNC240
