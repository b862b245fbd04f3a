"""How a process says that it is ready and learns that it shall stop.

Readiness is the sd_notify datagram (`READY=1` to `$NOTIFY_SOCKET`), which the supervisor and systemd both understand.
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Coroutine, Sequence
from typing import Any

CANCEL_AGAIN_S = 0.5


def ready(status: str = "") -> None:
    """Tell the parent, if it listens, that this process serves now; `status` is one line of text without patient data."""
    address = os.environ.get("NOTIFY_SOCKET")  # noqa: TID251  sd_notify's own protocol
    if not address:
        return
    text = f"READY=1\nSTATUS={status}" if status else "READY=1"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, contextlib.suppress(OSError):
        # A parent that is gone needs no news; the parent-death signal ends us.
        notify.connect(address.replace("@", "\0", 1) if address.startswith("@") else address)
        notify.sendall(text.encode())


def stop_event() -> asyncio.Event:
    """Return an event that SIGTERM or SIGINT sets. Call it inside the running loop."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    return stopping


async def until_stopped(stopping: asyncio.Event, *works: Coroutine[Any, Any, None]) -> None:
    """Run the works until the stop event; then cancel them and wait for their clean-up. A work that fails or ends stops all."""
    tasks = [asyncio.ensure_future(work) for work in works]
    stop = asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.cancel()
        await ended(tasks)
    for task in tasks:
        fault = None if task.cancelled() else task.exception()
        if fault is not None:
            raise fault


async def ended(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancel until all have ended: `asyncio.wait_for` inside a client may lose a cancellation that meets a reply (before Python 3.12)."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)
