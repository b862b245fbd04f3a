"""Whether the process of this container does its work, asked from inside it; exit 0 or 1, with the reason in one line.

python health.py http URL       it answers 200
python health.py model ADDRESS  it says SERVING by the gRPC health protocol
python health.py journal PORT   it takes devices' connections on PORT, and reads in its journal
python health.py peer PORT      it holds a connection to its server on PORT: Redis 6379, PostgreSQL 5432, the listener 2575
python health.py leads PORT     the ledger leads, by its metrics on PORT

The standard library, and what the container's own image holds.
"""

import http.client
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

PROCESS: Final = Path("/proc/1")  # a container's process
LISTENS, CONNECTED = "0A", "01"  # TCP states of proc_pid_net(5)
ANSWER_WITHIN_S: Final = 4.0
INSPECTION: Final = "127.0.0.1:50061"
OK: Final = 200
EXPECTED = (OSError, http.client.HTTPException, LookupError, ValueError)


class Unwell(Exception):
    """Why the process does not do its work."""


def sockets(process: Path = PROCESS) -> Iterator[tuple[str, int, int]]:
    """Yield state, own port and peer's port of each TCP socket that the process itself has open."""
    links = [str(link.readlink()) for link in (process / "fd").iterdir() if link.is_symlink()]
    own = {link.removeprefix("socket:[").removesuffix("]") for link in links if link.startswith("socket:[")}
    for table in ("tcp", "tcp6"):
        for line in (process / "net" / table).read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[9] in own:
                yield fields[3], int(fields[1].rpartition(":")[2], 16), int(fields[2].rpartition(":")[2], 16)


def page(url: str) -> bytes:
    """Return what the URL answers; Unwell unless it is a 200."""
    with urllib.request.urlopen(url, timeout=ANSWER_WITHIN_S) as answer:  # noqa: S310  the URL is the compose file's
        if answer.status != OK:
            raise Unwell(f"{url} answers {answer.status}")
        return bytes(answer.read())


def model(address: str) -> None:
    """Ask for the health that gRPC's own protocol tells."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(address) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=ANSWER_WITHIN_S)
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise Unwell(f"{address} says {answer.status}")


def journal(port: str) -> None:
    """See that devices can connect, without being one, and that the journal can be read."""
    import grpc

    from protos.journal.v1 import journal_pb2, journal_pb2_grpc

    if (LISTENS, int(port)) not in {(state, own) for state, own, _ in sockets()}:
        raise Unwell(f"it does not listen on {port}")
    with grpc.insecure_channel(INSPECTION) as channel:
        journal_pb2_grpc.JournalStub(channel).ListQuarantine(journal_pb2.ListQuarantineRequest(limit=1), timeout=ANSWER_WITHIN_S)


def peer(port: str) -> None:
    """See that the process is connected to its server."""
    if (CONNECTED, int(port)) not in {(state, to) for state, _, to in sockets()}:
        raise Unwell(f"it holds no connection to a server on {port}")


def leads(port: str) -> None:
    """See that the ledger writes."""
    lines = page(f"http://127.0.0.1:{port}/metrics").decode().splitlines()
    if float(dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))["sopor_ledger_leading"]) != 1:
        raise Unwell("it stands by, or PostgreSQL does not answer")


CHECKS: Final[dict[str, Callable[[str], object]]] = {"http": page, "model": model, "journal": journal, "peer": peer, "leads": leads}


def main(check: str, about: str) -> int:
    """Return 0 when the check holds, else 1 with the reason on stderr."""
    try:
        CHECKS[check](about)
    except (Unwell, *EXPECTED) as fault:
        reason = fault
    except Exception as fault:  # noqa: BLE001  gRPC's faults, where gRPC is; their text would be long
        reason = type(fault).__name__
    else:
        return 0
    sys.stderr.write(f"{check} {about}: {reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
