"""A scripted EHR: a real HTTP server that keeps what it is sent, and misbehaves as a test tells it to.

`script` holds one move for each coming write (PUT or POST of Observation, Provenance or Device); when it is empty the peer behaves.
"""

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

MRN_SYSTEM = "urn:oid:1.2.3.4.5.1"


@dataclass(frozen=True)
class Answers:
    """Answer with a status without storing anything."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StoresThen:
    """Store, then answer with another status than success."""

    status: int


@dataclass(frozen=True)
class Cuts:
    """Reset the connection instead of answering, before or after storing."""

    stored: bool


@dataclass(frozen=True)
class Hangs:
    """Store, then say nothing for a while."""

    for_s: float


Move = Answers | StoresThen | Cuts | Hangs


@dataclass
class Seen:
    """One request as the peer saw it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class EhrPeer:
    """The state behind the handler."""

    def __init__(self) -> None:
        """Offer everything, know nobody."""
        self.offers = {"updateCreate": True, "conditionalCreate": True, "interaction": [{"code": "update"}, {"code": "create"}]}
        self.script: list[Move] = []
        self.resources: dict[tuple[str, str], dict[str, Any]] = {}
        self.patients: list[dict[str, Any]] = []
        self.seen: list[Seen] = []
        self.tokens: set[str] | None = None  # None: anybody may enter
        self.lock = threading.Lock()
        self.base_url = ""

    def admit(self, mrn: str, patient_id: str | None = None, **more: object) -> str:
        """Know a patient."""
        patient_id = patient_id or uuid4().hex
        identifier = [{"system": MRN_SYSTEM, "value": mrn}]
        self.patients.append({"resourceType": "Patient", "id": patient_id, "identifier": identifier, **more})
        return patient_id

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the resources of a type."""
        return [resource for (found, _), resource in self.resources.items() if found == kind]

    def writes(self) -> list[Seen]:
        """Return the writes that came in."""
        return [s for s in self.seen if s.method in {"PUT", "POST"} and not s.path.endswith("_search") and "/fhir/" in s.path]

    def store(self, kind: str, resource_id: str | None, resource: dict[str, Any], query: str | None) -> tuple[int, str]:
        """Store as asked: PUT with an id, conditional create with a query, else always anew."""
        with self.lock:
            if resource_id is None and query is not None:
                found = self.find(kind, query)
                if found:
                    return 200, found[0]["id"]
            resource_id = resource_id or uuid4().hex
            status = 200 if (kind, resource_id) in self.resources else 201
            self.resources[kind, resource_id] = {**resource, "id": resource_id}
            return status, resource_id

    def find(self, kind: str, query: str) -> list[dict[str, Any]]:
        """Search by identifier, or a Provenance by its target."""
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        if "target" in asked:
            return [r for r in self.of(kind) if r["target"][0]["reference"] == asked["target"]]
        system, _, value = asked.get("identifier", "").partition("|")
        pool = self.patients if kind == "Patient" else self.of(kind)
        return [r for r in pool if {"system": system, "value": value} in r.get("identifier", [])]


class Handler(BaseHTTPRequestHandler):
    peer: EhrPeer

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        return

    def _take(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.peer.seen.append(Seen(self.command, self.path, headers, body))
        return body

    def _say(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/fhir+json", "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def _refused(self) -> bool:
        if self.peer.tokens is None or self.headers.get("Authorization", "") in self.peer.tokens:
            return False
        self._say(401, {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "login"}]})
        return True

    def do_GET(self) -> None:
        self._take()
        parts = urlsplit(self.path)
        kind = parts.path.rsplit("/", 1)[-1]
        if kind == "metadata":
            types = [{"type": t, **self.peer.offers} for t in ("Observation", "Provenance", "Device")]
            self._say(200, {"resourceType": "CapabilityStatement", "rest": [{"mode": "server", "resource": types}]})
        elif not self._refused():
            self._bundle(self.peer.find(kind, parts.query))

    def _bundle(self, found: list[dict[str, Any]]) -> None:
        self._say(200, {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": r} for r in found]})

    def do_POST(self) -> None:
        body = self._take()
        if self._refused():
            return
        if self.path.endswith("/Patient/_search"):
            self._bundle(self.peer.find("Patient", body.decode()))
        else:
            self._write(self.path.rsplit("/", 1)[-1], None, json.loads(body))

    def do_PUT(self) -> None:
        body = self._take()
        kind, resource_id = self.path.split("/")[-2:]
        if not self._refused():
            self._write(kind, resource_id, json.loads(body))

    def _write(self, kind: str, resource_id: str | None, resource: dict[str, Any]) -> None:
        with self.peer.lock:
            move = self.peer.script.pop(0) if self.peer.script else None
        if isinstance(move, Answers):
            self._say(move.status, move.body, move.headers)
            return
        if isinstance(move, Cuts) and not move.stored:
            self._reset()
            return
        status, found = self.peer.store(kind, resource_id, resource, self.headers.get("If-None-Exist"))
        match move:
            case Cuts():
                self._reset()
            case Hangs():
                time.sleep(move.for_s)
                self._reset()
            case StoresThen():
                self._say(move.status, {})
            case _:
                self._say(status, {}, {"Location": f"{self.peer.base_url}/{kind}/{found}/_history/1", "ETag": 'W/"1"'})


@contextmanager
def ehr_peer() -> Iterator[EhrPeer]:
    """Run a peer on a free loopback port."""
    peer = EhrPeer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("PeerHandler", (Handler,), {"peer": peer}))
    server.daemon_threads = True
    peer.base_url = f"http://127.0.0.1:{server.server_address[1]}/fhir"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield peer
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
