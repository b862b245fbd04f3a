"""Ports on loopback: the usual one, else a free one."""

import socket
from typing import Final

LOOPBACK: Final = "127.0.0.1"


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Tell whether a process could listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(preferred: int, taken: set[int]) -> int:
    """Return the preferred port when it is free and not in `taken`, else another that is; it is then in `taken`."""
    port = preferred
    while port in taken or not is_free(port):
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port = int(probe.getsockname()[1])
    taken.add(port)
    return port
