"""Whether a server that was given by URL answers."""

import contextlib
import socket
from typing import Final
from urllib.parse import unquote, urlsplit

import psycopg

TIMEOUT_S: Final = 2
REDIS_PORT: Final = 6379


def database_answers(url: str) -> bool:
    """Tell whether PostgreSQL answers a query there."""
    with contextlib.suppress(psycopg.Error), psycopg.connect(url, connect_timeout=TIMEOUT_S) as connection:
        connection.execute("SELECT 1")
        return True
    return False


def redis_answers(url: str) -> bool:
    """Tell whether Redis or Valkey answers there; one that asks for a password does."""
    parts = urlsplit(url)
    family = socket.AF_UNIX if parts.scheme == "unix" else socket.AF_INET
    with contextlib.suppress(OSError, ValueError), socket.socket(family) as connection:
        connection.settimeout(TIMEOUT_S)
        connection.connect(unquote(parts.path) if parts.scheme == "unix" else (parts.hostname or "localhost", parts.port or REDIS_PORT))
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
    return False
