"""A real EHR for tests: `sekmet-fhir` on a free loopback port, with our SMART client registered."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.servers import free_port, until

CLIENT_ID = "sopor-writer"
MRN_SYSTEM = "urn:oid:1.2.3.4.5.1"
READY_S = 60.0


def make_key_pair(folder: Path) -> None:
    """Make `client.pem` (EC P-384) and `client.pub.pem`."""
    key = ec.generate_private_key(ec.SECP384R1())
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / "client.pem").write_bytes(private)
    (folder / "client.pub.pem").write_bytes(public)


class Sekmet:
    """A sekmet-fhir server; `api` speaks to it with a token of its own."""

    def __init__(self, token_life_s: int = 3600) -> None:
        """Start on a free port and wait until it answers."""
        self.folder, self.port = Path(tempfile.mkdtemp(prefix="sopor-sekmet-")), free_port()
        self.base_url = f"http://127.0.0.1:{self.port}/fhir"
        make_key_pair(self.folder)
        settings = {
            "base_url": self.base_url,
            "host": "127.0.0.1",
            "port": self.port,
            "data_dir": str(self.folder / "data"),
            "simulator": {"enabled": False},
            "log_inbound": False,
            "server_auth": {
                "types": ["smart", "bearer"],
                "tokens": ["test-reader"],
                "token_lifetime": token_life_s,
                "smart_clients": [
                    {"client_id": CLIENT_ID, "public_key_path": str(self.folder / "client.pub.pem"), "scopes": "system/*.cruds"}
                ],
            },
        }
        (self.folder / "settings.yaml").write_text(json.dumps(settings))
        command = [str(Path(sys.executable).with_name("sekmet")), "serve", "-c", "settings.yaml"]
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(command, cwd=self.folder, stdout=quiet, stderr=quiet, start_new_session=True)
        until("sekmet answers", self._answers, READY_S)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.base_url}/metadata", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def api(self, method: str, path: str, body: object = None) -> dict:
        """Send one request as the test; return the answer's JSON."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": "Bearer test-reader", "Content-Type": "application/fhir+json"}
        request = urllib.request.Request(f"{self.base_url}/{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or b"{}")

    def search(self, kind: str, query: str) -> list[dict]:
        """Return the resources that a search finds."""
        found = self.api("GET", f"{kind}?{query}&_count=200")
        return [entry["resource"] for entry in found.get("entry", []) if entry["resource"]["resourceType"] == kind]

    def admit(self, mrn: str, *, birth_date: str = "1961-03-04", family: str = "Testpatient") -> str:
        """Create a Patient with this identifier; return its id."""
        patient = {
            "resourceType": "Patient",
            "identifier": [{"system": MRN_SYSTEM, "value": mrn}],
            "name": [{"family": family, "given": ["Anna"]}],
            "birthDate": birth_date,
        }
        return str(self.api("POST", "Patient", patient)["id"])

    def close(self) -> None:
        """Stop and forget."""
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def ehr() -> Iterator[Sekmet]:
    """A sekmet-fhir of this module's own."""
    server = Sekmet()
    yield server
    server.close()


def claims_of(assertion: str) -> dict:
    """Return what an assertion claims, unverified."""
    return jwt.decode(assertion, options={"verify_signature": False})
