"""The client of the listener's journal.v1."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import grpc

from backbone.supervisor import status as status_file
from backbone.supervisor.state import holder
from cli.exits import CommandFault, ExitCode
from cli.place import running_state
from protos.journal.v1 import journal_pb2_grpc

DEADLINE_S: Final = 5.0
MICROSECONDS: Final = 1_000_000


def listener_address(state: Path | None) -> str:
    """Return where the running listener serves its journal."""
    place = running_state(state)
    found = status_file.read(place)
    if holder(place) is None or found is None or "inspect" not in found.addresses:
        raise CommandFault(f"{place.folder}: no listener runs here; `sopor up` or `sopor demo` starts it", ExitCode.UNREACHABLE)
    return found.addresses["inspect"]


@contextmanager
def journal(address: str) -> Iterator[journal_pb2_grpc.JournalStub]:
    """Yield the stub; a listener that does not answer ends the command with exit code 4."""
    with grpc.insecure_channel(address) as channel:
        try:
            yield journal_pb2_grpc.JournalStub(channel)
        except grpc.RpcError as fault:
            raise CommandFault(
                f"the listener at {address} does not answer; `sopor status` tells whether it runs", ExitCode.UNREACHABLE
            ) from fault


def instant(microseconds: int) -> str:
    """Return an instant as ISO 8601 in UTC."""
    return datetime.fromtimestamp(microseconds / MICROSECONDS, UTC).isoformat(timespec="seconds")
