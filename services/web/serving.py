"""Uvicorn inside our lifecycle: one way to start, one way to stop."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import uvicorn
from starlette.types import ASGIApp

SAY_GOODBYE_S: Final = 2


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone: `backbone.lifecycle` has them."""
        yield


def listening_on(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes any free one."""
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def url_of(listening: socket.socket) -> str:
    """Return the address to open in a browser."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


async def serve(app: ASGIApp, listening: socket.socket, *, before_stop: Callable[[], None]) -> None:
    """Serve until cancelled; `before_stop` ends the endless answers, then the rest have two seconds."""
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", server_header=False)
    config.timeout_graceful_shutdown = SAY_GOODBYE_S
    server = _Server(config)
    serving = asyncio.ensure_future(server.serve([listening]))
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        before_stop()
        while not serving.done():
            # A stop may be said more than once; this one ends by itself, within the time to say goodbye.
            with suppress(asyncio.CancelledError):
                await asyncio.wait([serving])
