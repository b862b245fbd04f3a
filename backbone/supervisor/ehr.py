"""The EHR of the demo as an embedded server: `sekmet-fhir` on loopback, its data under the state folder, its patients seeded.

Seeding is part of readiness, and idempotent: a Patient whose identifier is there already is not touched.
"""

import http.client
import json
import os
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from backbone.supervisor.errors import NoServer
from backbone.supervisor.spec import ProcessSpec
from backbone.supervisor.state import PRIVATE, State, make_folder

LOOPBACK: Final = "127.0.0.1"
TARGET: Final = "demo"
CLIENT_ID: Final = "sopor-writer"
SCOPES: Final = "system/Patient.rs system/Observation.cruds system/Provenance.cruds system/Device.cruds"
MRN_SYSTEM: Final = "urn:oid:1.2.3.4.5.1"
PROBE_TIMEOUT_S: Final = 2.0
ASK_TIMEOUT_S: Final = 5.0
OK: Final = 200
STORED: Final = ("200", "201")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class EhrPatient:
    """A patient whom the EHR knows. Its text form shows nothing of it."""

    identifier: str = field(repr=False)
    family: str = field(repr=False)
    given: str = field(repr=False)
    birth_date: str = field(repr=False)
    gender: str = field(repr=False)  # administrative-gender of FHIR R4
    assigner: str = field(repr=False)

    def resource(self) -> Json:
        """Return the FHIR R4 Patient."""
        return {
            "resourceType": "Patient",
            "active": True,
            "identifier": [{"system": MRN_SYSTEM, "value": self.identifier, "assigner": {"display": self.assigner}}],
            "name": [{"family": self.family, "given": [self.given]}],
            "birthDate": self.birth_date,
            "gender": self.gender,
        }


@dataclass(frozen=True, slots=True)
class EhrAccess:
    """Where the EHR is, and the demo's own bearer token for reading back."""

    port: int
    token: str = field(repr=False)

    @property
    def base_url(self) -> str:
        """Its FHIR endpoint."""
        return f"http://{LOOPBACK}:{self.port}/fhir"

    @property
    def page(self) -> str:
        """Its console for people."""
        return f"http://{LOOPBACK}:{self.port}/ui"

    def ask(self, method: str, path: str, body: Json | None = None, timeout_s: float = ASK_TIMEOUT_S) -> Json | None:
        """Return the JSON of an answer 200 to `path` below the endpoint; None for any other answer, or none in time."""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=timeout_s)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/fhir+json", "Accept": "application/fhir+json"}
        try:
            connection.request(method, f"/fhir{path}", None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            found = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()
        return found if answer.status == OK and isinstance(found, dict) else None


@dataclass(frozen=True, slots=True)
class EhrServer:
    """The server's row, how to reach it, and the file of targets that names it for the writer."""

    spec: ProcessSpec
    access: EhrAccess
    targets: Path


def seed_of(patients: Sequence[EhrPatient]) -> Json:
    """Return the transaction that creates each patient who is not there yet. Pure."""

    def entry(patient: EhrPatient) -> Json:
        absent = f"identifier={MRN_SYSTEM}|{quote(patient.identifier)}"
        return {"resource": patient.resource(), "request": {"method": "POST", "url": "Patient", "ifNoneExist": absent}}

    return {"resourceType": "Bundle", "type": "transaction", "entry": [entry(patient) for patient in patients]}


def _answers(access: EhrAccess, patients: Sequence[EhrPatient]) -> bool:
    """Tell whether the EHR says what it can and knows all patients; those whom it does not know are made."""
    if access.ask("GET", "/metadata", timeout_s=PROBE_TIMEOUT_S) is None:
        return False
    answer = access.ask("POST", "", seed_of(patients), PROBE_TIMEOUT_S) or {}
    stored = [entry for entry in answer.get("entry", []) if str(entry.get("response", {}).get("status", "")).startswith(STORED)]
    return len(stored) == len(patients)


def _write(path: Path, text: bytes) -> None:
    """Write a file that is ours alone."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(text)


def _make_client_key(folder: Path) -> None:
    """Make `client.pem` (EC P-384, for ES384) with its public half, unless it is there."""
    private = folder / "client.pem"
    if private.exists():
        return
    key = ec.generate_private_key(ec.SECP384R1())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    _write(folder / "client.pub.pem", public)
    _write(private, key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


def _token(folder: Path) -> str:
    path = folder / "reader.token"
    if not path.exists():
        _write(path, secrets.token_urlsafe(32).encode())
    return path.read_text(encoding="ascii").strip()


def _settings(folder: Path, access: EhrAccess) -> Json:
    client = {"client_id": CLIENT_ID, "public_key_path": str(folder / "client.pub.pem"), "scopes": SCOPES}
    return {
        "base_url": access.base_url,
        "host": LOOPBACK,
        "port": access.port,
        "data_dir": str(folder / "data"),
        "facility_name": "Sopor demo",
        "identifiers": {"mrn": MRN_SYSTEM},
        "simulator": {"enabled": False},
        "log_inbound": False,
        "server_auth": {"types": ["smart", "bearer"], "tokens": [access.token], "smart_clients": [client]},
    }


def _targets(access: EhrAccess) -> str:
    values = {
        "name": TARGET,
        "base_url": access.base_url,
        "mode": "live",
        "auth": "smart",
        "client_id": CLIENT_ID,
        "key_file": "client.pem",
        "scope": SCOPES,
        "identifier_system": MRN_SYSTEM,
    }
    return "[[target]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())


def _binary() -> Path:
    binary = Path(sys.executable).with_name("sekmet")
    if not binary.exists():
        raise NoServer("sekmet-fhir, the demo's EHR, is not installed: pip install 'sopor[demo]' brings it")
    return binary


def ehr(state: State, port: int, patients: Sequence[EhrPatient], after: tuple[str, ...]) -> EhrServer:
    """Prepare the EHR's folder: keys, settings, targets; return its row and how to reach it."""
    binary, folder = _binary(), state.folder / "ehr"
    make_folder(folder, PRIVATE)
    _make_client_key(folder)
    access = EhrAccess(port, _token(folder))
    _write(folder / "settings.yaml", json.dumps(_settings(folder, access), indent=1).encode())  # JSON is YAML
    _write(folder / "targets.toml", _targets(access).encode())
    spec = ProcessSpec(
        name="ehr",
        argv=(str(binary), "serve", "-c", str(folder / "settings.yaml")),
        ready_within_s=60.0,
        probe=partial(_answers, access, tuple(patients)),
        folder=folder,
        after=after,
    )
    return EhrServer(spec, access, folder / "targets.toml")
