"""The HL7 listener as a process, and devices that speak to it, for tests."""

import contextlib
import hashlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import grpc
import redis

from anesthesia.leaf import Event, event_of
from anesthesia.occupancy import Occupancy
from anesthesia.reading import Bed, Frame
from backbone.redis.streams import key, partition_of
from backbone.vault import make_keys, open_vault
from backbone.wire import unpack_entry
from protos.journal.v1 import journal_pb2_grpc
from services.hl7_listener.day_file import PURPOSE, day_paths
from services.hl7_listener.mllp import Block, Decoder, block_of
from tests.messages import HEART_RATE, nm, oru

ROOT = Path(__file__).parents[1]
CORPUS = ROOT / "tests" / "corpora" / "hl7"
SITE = ROOT / "deploy" / "demo" / "sopor.toml"
CANARIES = (b"ZZCANARYID", b"ZZCANARYFAMILY", b"ZZCANARYGIVEN", b"19700615")


class Peer:
    """A device: one connection, blocks out, answers in."""

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(address, 0))
        self._decoder, self._answers = Decoder(), []

    def send(self, *contents: bytes) -> None:
        self.connection.sendall(b"".join(block_of(content) for content in contents))

    def answer(self) -> list[str]:
        """Return the fields of the next answer's MSA."""
        while not self._answers:
            received = self.connection.recv(65536)
            if not received:
                raise ConnectionResetError
            self._answers += [item.content for item in self._decoder.feed(received) if isinstance(item, Block)]
        return self._answers.pop(0).decode().split("\r")[1].split("|")

    def ask(self, content: bytes) -> list[str]:
        self.send(content)
        return self.answer()


class Listener:
    """The process, its folders, and what came out of it."""

    def __init__(self, folder: Path, url: str, **settings: str) -> None:
        self.folder, self.redis = folder, redis.Redis.from_url(url)
        self.journal, self.log = folder / "journal", folder / "log"
        make_keys(folder / "keys")
        self.environment = os.environ | {
            "SOPOR_SITE": str(SITE),
            "SOPOR_KEYS": str(folder / "keys"),
            "SOPOR_REDIS_URL": url,
            "SOPOR_LISTENER_JOURNAL": str(self.journal),
            "SOPOR_LISTENER_PORT": "0",
            "SOPOR_LISTENER_INSPECT_PORT": "0",
            **{f"SOPOR_LISTENER_{name.upper()}": value for name, value in settings.items()},
        }
        self.port = self.inspect_port = 0
        self.command = [sys.executable, "-m", "services.hl7_listener"]
        self._open = contextlib.ExitStack()
        self._open.callback(self.redis.close)

    def start(self) -> None:
        address = self.folder / "notify"
        address.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified, self.log.open("ab") as log:
            notified.bind(str(address))
            notified.settimeout(30)
            environment = self.environment | {"NOTIFY_SOCKET": str(address)}
            self.process = subprocess.Popen(self.command, env=environment, cwd=ROOT, stderr=log)
            status = dict(part.split("=") for part in notified.recv(1000).decode().split("STATUS=")[1].split())
        self.port, self.inspect_port = int(status["port"]), int(status["inspect_port"])

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(20)

    def peer(self, address: str = "127.0.0.1") -> Peer:
        """Connect a device from one of the loopback addresses."""
        peer = Peer(self.port, address)
        self._open.callback(peer.connection.close)
        return peer

    def entries(self, bed: str = "OR 1") -> list[Frame | Occupancy]:
        found = self.redis.xrange(key(partition_of(Bed("demo", bed)), "frames"))
        return [unpack_entry(fields[b"f"]) for _, fields in found]

    def frames(self, bed: str = "OR 1") -> list[Frame]:
        return [entry for entry in self.entries(bed) if isinstance(entry, Frame)]

    def told(self) -> list[Event]:
        """What the audit log is told."""
        return [event_of(fields[b"e"]) for _, fields in self.redis.xrange(key(0, "events"))]

    def journaled(self) -> dict[str, str]:
        """Control id -> state of every message in the journal, its bytes opened and compared with the digest."""
        seal, found = open_vault(self.folder / "keys").journal, {}
        for path in day_paths(self.journal):
            with contextlib.closing(sqlite3.connect(path)) as db:
                for control_id, state, digest, sealed in db.execute("SELECT control_id, state, sha256, sealed FROM messages"):
                    if state != "time":
                        assert hashlib.sha256(seal.open(sealed, PURPOSE)).digest() == digest
                        assert control_id not in found
                        found[control_id] = state
        return found

    def inspect(self) -> journal_pb2_grpc.JournalStub:
        return journal_pb2_grpc.JournalStub(self._open.enter_context(grpc.insecure_channel(f"127.0.0.1:{self.inspect_port}")))

    def close(self) -> None:
        if self.process.poll() is None:
            self.end(signal.SIGKILL)
        self._open.close()


def now() -> datetime:
    return datetime.now(UTC)


def vitals(number: int, **changes) -> bytes:
    return oru([nm(HEART_RATE, 60 + number % 40)], control_id=f"M{number}", at=now(), **changes)
