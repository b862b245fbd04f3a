"""A model bundle on disk: `models/<name>/<version>/`, read once, every byte checked, handed on without being opened as a model.

BundleError
├── UnknownBundle      no folder for this name@version
├── BadManifest        manifest.toml does not say what it must
└── BundleDamaged      a file is missing, extra, not a plain file, or not the one that SHA256SUMS names
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from anesthesia.errors import SoporError
from anesthesia.prediction import Tier

SUMS = "SHA256SUMS"
MANIFEST = "manifest.toml"
MODEL = "model.ts"
CARD = "MODEL_CARD.md"
METRICS = "metrics.json"
GOLDEN = "golden.npz"
FILES = frozenset({MODEL, MANIFEST, CARD, METRICS, GOLDEN})
_REFERENCE = re.compile(r"(?P<name>[a-z][a-z0-9-]*)@(?P<version>\d+\.\d+\.\d+)")
_LINE = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<file>[A-Za-z0-9_.-]+)")


class BundleError(SoporError):
    """A bundle that may not be used; the text says which file, what is wrong and what to do."""


class UnknownBundle(BundleError):
    """No bundle of this name and version."""


class BadManifest(BundleError):
    """The manifest lacks a field, has one too many, or a value it may not have."""


class BundleDamaged(BundleError):
    """The files are not those that were exported."""


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Input(_Part):
    """One channel the model reads: `signal` is a name of `anesthesia.signal.SIGNALS`."""

    signal: str
    kind: Literal["signal"]
    rate_hz: float = Field(gt=0)
    unit: str
    samples: int = Field(gt=0)


class Output(_Part):
    """One tensor the model answers, in order; `code` names it in records, `unit` is UCUM, `shape` leaves out the batch."""

    name: str
    code: str
    unit: str
    shape: list[int]


class Manifest(_Part):
    """What a bundle says of itself."""

    name: str
    version: str
    parent: str  # name@version it was derived from; empty for none
    tiers: list[str]
    window_s: int = Field(gt=0)
    minimum_coverage_s: int = Field(gt=0)  # real EEG in the newest 30 s, on at least one channel
    torch: str
    inputs: list[Input] = Field(min_length=1)
    outputs: list[Output] = Field(min_length=1)
    data_sha256: dict[str, str]  # training case to the hash of its file


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle: everything a process may use of it is in memory, so a later change on disk changes nothing."""

    manifest: Manifest
    files: Mapping[str, bytes]
    digest: str  # SHA-256 over the sorted lines of SHA256SUMS

    @property
    def name(self) -> str:
        """The bundle's name."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """The bundle's version."""
        return self.manifest.version

    @property
    def reference(self) -> str:
        """`name@version`, as requests and records write it."""
        return f"{self.name}@{self.version}"


def sums_of(files: Mapping[str, bytes]) -> str:
    """Return the text of SHA256SUMS for these files, sorted by name, in the form of sha256sum(1)."""
    return "".join(f"{sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))


def digest_of(sums: str) -> str:
    """Return the bundle digest: SHA-256 over the sorted lines of SHA256SUMS."""
    return sha256("".join(f"{line}\n" for line in sorted(sums.splitlines())).encode()).hexdigest()


def folder_of(reference: str, models: Path) -> Path:
    """Return the folder of `name@version` below `models`; raise UnknownBundle for any other text, `latest` included."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise UnknownBundle(f"{reference!r} is not name@version with three numbers, such as depth-eeg@0.1.0: name the exact version")
    return models / match["name"] / match["version"]


def _sums(text: str, folder: Path) -> dict[str, str]:
    digests: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.fullmatch(line)
        if match is None or match["file"] in digests:
            raise BundleDamaged(f"{folder / SUMS}: line {number} is not one new `sha256  file`; export or fetch the bundle again")
        digests[match["file"]] = match["digest"]
    return digests


def _read(folder: Path) -> dict[str, bytes]:
    """Read every file of the folder once; anything else in it is damage."""
    files: dict[str, bytes] = {}
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_file():
            raise BundleDamaged(f"{path}: not a plain file; a bundle holds {SUMS} and the files it names, remove the rest")
        files[path.name] = path.read_bytes()
    return files


def _checked(files: dict[str, bytes], folder: Path) -> tuple[dict[str, bytes], str]:
    if SUMS not in files:
        raise BundleDamaged(f"{folder / SUMS}: missing, so nothing in the bundle can be trusted; export or fetch it again")
    text = files.pop(SUMS).decode("ascii", errors="replace")
    digests = _sums(text, folder)
    missing = sorted((FILES | digests.keys()) - files.keys()) + sorted(FILES - digests.keys())
    extra = sorted(files.keys() - digests.keys())
    if missing:
        raise BundleDamaged(f"{folder / missing[0]}: missing here or in {SUMS}; export or fetch the bundle again")
    if extra:
        raise BundleDamaged(f"{folder / extra[0]}: not named in {SUMS}; remove it, or export the bundle again")
    for name, content in files.items():
        if sha256(content).hexdigest() != digests[name]:
            raise BundleDamaged(f"{folder / name}: its bytes are not those of {SUMS}; export or fetch the bundle again")
    return files, digest_of(text)


def manifest_of(content: bytes, where: str) -> Manifest:
    """Parse a manifest strictly; raise BadManifest naming the field."""
    try:
        manifest = Manifest.model_validate(tomllib.loads(content.decode()))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        raise BadManifest(f"{where}: not TOML: {fault}") from fault
    except ValidationError as fault:
        first = fault.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BadManifest(f"{where}: {field}: {first['msg']}; export the bundle again with this version of Sopor") from fault
    unknown = sorted(set(manifest.tiers) - {tier.value for tier in Tier})
    if unknown or not manifest.tiers:
        raise BadManifest(f"{where}: tiers: {unknown or 'none'} is no evidence tier; known: {', '.join(tier.value for tier in Tier)}")
    return manifest


def read(models: Path, reference: str) -> Bundle:
    """Return the verified bundle `name@version` from the folder of bundles; raise a BundleError that says what to do."""
    folder = folder_of(reference, models)
    if not folder.is_dir():
        raise UnknownBundle(f"{folder}: no such bundle; set the models folder, or export {reference} into it")
    files, digest = _checked(_read(folder), folder)
    manifest = manifest_of(files[MANIFEST], str(folder / MANIFEST))
    if f"{manifest.name}@{manifest.version}" != reference:
        raise BadManifest(f"{folder / MANIFEST}: is of {manifest.name}@{manifest.version}, but lies in the folder of {reference}")
    return Bundle(manifest, MappingProxyType(files), digest)
