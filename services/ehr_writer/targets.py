"""The EHRs of a site, read from the `[[target]]` tables of the file in `SOPOR_EHR_TARGETS`; every error names its line."""

import re
import tomllib
from collections.abc import Sequence
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from backbone.site import Mode
from services.ehr_writer.errors import BadTargets

PORTS: Final = {"https": 443, "http": 80}
ResourceName = Literal["Observation", "Provenance", "Device"]
Origin = tuple[str, str, int]


class TargetMode(StrEnum):
    """What happens to a due resource."""

    OFF = "off"  # nothing is planned
    DRY_RUN = "dry-run"  # built, validated, shown; not sent
    LIVE = "live"


def origin_of(url: str) -> Origin:
    """Return scheme, host and port: what a token is bound to."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or PORTS.get(parts.scheme, 0)


def is_loopback(url: str) -> bool:
    """Tell whether the URL leads to this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _checked_url(url: str) -> str:
    parts: SplitResult = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("must be https://host[:port]/path, without user, query or fragment")
    if parts.scheme == "http" and not is_loopback(url):
        raise ValueError("http is for loopback only; give https")
    return url.rstrip("/")


class Target(BaseModel):
    """One EHR: where it is, how we log in, how it names patients, what it takes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9-]{1,40}$")
    base_url: str = Field(description="of its FHIR R4 endpoint")
    mode: TargetMode = TargetMode.DRY_RUN
    auth: Literal["smart", "bearer", "none"] = "smart"
    client_id: str | None = Field(default=None, description="of SMART Backend Services")
    key_file: Path | None = Field(default=None, description="smart: private key, PEM (EC P-384 or RSA); bearer: the token")
    key_id: str | None = Field(default=None, description="kid of the key in our JWKS")
    ca_file: Path | None = Field(default=None, description="certificates that sign the EHR's, PEM; default: the system's")
    token_url: str | None = Field(default=None, description="default: discovered, and then on the host of base_url only")
    scope: str = "system/Patient.rs system/Observation.cruds system/Provenance.cruds system/Device.cruds"
    identifier_system: str = Field(min_length=1, description="FHIR system of the identifier that ADT carries in PID-3")
    authority: str | None = Field(default=None, description="PID-3.4 that this system stands for; None: any")
    resources: tuple[ResourceName, ...] = ("Observation", "Provenance", "Device")

    @field_validator("base_url")
    @classmethod
    def _base_url_is_safe(cls, url: str) -> str:
        return _checked_url(url)

    @field_validator("token_url")
    @classmethod
    def _token_url_is_safe(cls, url: str | None) -> str | None:
        return None if url is None else _checked_url(url)

    @model_validator(mode="after")
    def _auth_is_complete(self) -> "Target":
        if self.auth == "smart" and (self.client_id is None or self.key_file is None):
            raise ValueError("auth smart needs client_id and key_file")
        if self.auth == "bearer" and self.key_file is None:
            raise ValueError("auth bearer needs key_file, a file that holds the token")
        if "Observation" not in self.resources:
            raise ValueError("resources must contain Observation")
        return self

    def accepts(self, resource: ResourceName) -> bool:
        """Tell whether the EHR takes this resource; what it does not take goes into the Observation's text and note."""
        return resource in self.resources


class TargetsFile(BaseModel):
    """All `[[target]]` tables."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: tuple[Target, ...] = ()

    @model_validator(mode="after")
    def _names_are_unique(self) -> "TargetsFile":
        names = [target.name for target in self.target]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"target {doubled[0]!r} stands twice")
        return self


def _line_of(text: str, location: Sequence[int | str]) -> int:
    """Return the line of the n-th [[target]], or of a key inside it."""
    lines = text.splitlines()
    heads = [n for n, line in enumerate(lines) if re.match(r"\s*\[\[\s*target\s*\]\]", line)]
    number = next((part for part in location if isinstance(part, int)), None)
    if number is None or number >= len(heads):
        return 1
    names = [part for part in location if isinstance(part, str)][1:]
    end = heads[number + 1] if number + 1 < len(heads) else len(lines)
    pattern = rf"\s*{re.escape(names[0])}\s*=" if names else "$^"
    return next((n for n in range(heads[number], end) if re.match(pattern, lines[n])), heads[number]) + 1


def parse_targets(text: str, path: str, mode: Mode) -> tuple[Target, ...]:
    """Return the targets of a site in `mode`; BadTargets lists every fault as `path:line: key: what`."""
    try:
        found = TargetsFile.model_validate(tomllib.loads(text)).target
    except tomllib.TOMLDecodeError as fault:
        raise BadTargets(f"{path}: no valid TOML: {fault}") from fault
    except ValidationError as fault:
        lines = [
            f"{path}:{_line_of(text, error['loc'])}: {'.'.join(str(part) for part in error['loc']) or 'file'}: {error['msg']}"
            for error in fault.errors(include_input=False)
        ]
        raise BadTargets("\n".join(lines)) from fault
    for number, target in enumerate(found):
        if target.mode is TargetMode.LIVE and not (mode is Mode.SIMULATION and is_loopback(target.base_url)):
            line = _line_of(text, ("target", number, "mode"))
            raise BadTargets(
                f"{path}:{line}: target.{number}.mode: live needs go-live, which this version does not offer; without it only a"
                f" loopback EHR of a site in mode simulation may be live (this site: {mode}); give dry-run"
            )
    return found


def read_targets(path: Path, mode: Mode) -> tuple[Target, ...]:
    """Read and check the targets file. Its `key_file` and `ca_file` stand relative to it and must be there."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as fault:
        raise BadTargets(f"{path}: {fault.strerror}; give the targets file's path in SOPOR_EHR_TARGETS") from fault
    found = []
    for number, target in enumerate(parse_targets(text, str(path), mode)):
        files = {key: path.parent / given for key in ("key_file", "ca_file") if (given := getattr(target, key)) is not None}
        for key, file in files.items():
            if not file.is_file():
                raise BadTargets(f"{path}:{_line_of(text, ('target', number, key))}: target.{number}.{key}: no such file: {file.name}")
        found.append(target.model_copy(update=files))
    return tuple(found)
