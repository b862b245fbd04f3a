"""The one site file `sopor.toml`: beds, sources, mode and thresholds; every error names its line."""

import re
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from anesthesia.errors import SoporError
from anesthesia.limits import Limits
from anesthesia.reading import Bed


class BadSite(SoporError):
    """The site file is missing, is no TOML, or breaks a rule; the text names file, line and key."""


class Mode(StrEnum):
    """How a site runs: what may be shown to whom."""

    SIMULATION = "simulation"
    SILENT = "silent"
    STUDY = "study"


def _known_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"{name!r} is no IANA time zone, such as Europe/Vienna")
    return name


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Study(_Part):
    """Who answers for a study; mode `study` refuses to start without it."""

    protocol_id: str = Field(min_length=1)
    clinical_owner: str = Field(min_length=1)
    integration_owner: str = Field(min_length=1)
    privacy_officer: str = Field(min_length=1)


class SiteBed(_Part):
    """A bed: one name, and every raw name (PV1-3 of some source) that means it."""

    name: str = Field(min_length=1)
    aliases: tuple[str, ...] = ()
    theatre: bool = False
    adult_only: bool = False


class Tolerance(StrEnum):
    """What a source may do to the framing of its messages, each at a price (docs/reference/mllp.md)."""

    FS_ONLY = "fs_only"
    NO_MLLP = "no_mllp"
    CRC_BEFORE_FS = "crc_before_fs"


class Source(_Part):
    """A feed of device or ADT messages, recognised by its sending application (and facility, when given)."""

    name: str = Field(min_length=1)
    kind: Literal["monitor", "pump", "adt"]
    sending_application: str = Field(min_length=1, description="MSH-3, first component")
    sending_facility: str | None = Field(default=None, description="MSH-4, first component")
    mapping: str | None = Field(default=None, description="name of a file in the mappings folder, without .yaml")
    zone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    charset: str = "utf-8"
    interval_s: float = Field(default=1.0, gt=0, le=3600, description="interval of its numerics")
    source_latency_s: float | None = Field(default=None, gt=0, description="default: 1 s with waveforms, else the interval")
    waveforms: bool = False
    simulated: bool = False
    tolerates: frozenset[Tolerance] = Field(
        default=frozenset(),
        description="fs_only: FS without CR and a pause end a message; no_mllp: messages without VT; crc_before_fs: a check sum, unchecked",
    )

    @model_validator(mode="after")
    def _devices_have_a_mapping(self) -> "Source":
        if self.kind != "adt" and self.mapping is None:
            raise ValueError("a device source needs a mapping")
        return self

    @property
    def latency_s(self) -> float:
        """How long after an instant its reading may arrive."""
        if self.source_latency_s is not None:
            return self.source_latency_s
        return 1.0 if self.waveforms else self.interval_s

    @property
    def time_zone(self) -> ZoneInfo:
        """The zone of its times that carry none."""
        return ZoneInfo(self.zone)


class Listen(_Part):
    """Where devices connect."""

    host: str = "127.0.0.1"
    port: int = Field(default=2575, ge=0, le=65535)


class Retention(_Part):
    """How long things are kept."""

    journal_days: int | None = Field(default=None, ge=1)
    stream_minutes: int = Field(default=60, ge=10)


class SiteFile(_Part):
    """The whole file."""

    site: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_.-]+$")
    mode: Mode = Mode.SIMULATION
    model: str = Field(default="depth-eeg@0.1.0", pattern=r"^[a-z0-9-]+@\d+\.\d+\.\d+$")
    study: Study | None = None
    listen: Listen = Listen()
    retention: Retention = Retention()
    thresholds: Limits = Limits()
    bed: tuple[SiteBed, ...] = Field(min_length=1)
    source: tuple[Source, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_unique(self) -> "SiteFile":
        for what, names in (
            ("bed", [bed.name for bed in self.bed]),
            ("source", [source.name for source in self.source]),
            ("raw bed name", [raw for bed in self.bed for raw in {bed.name, *bed.aliases}]),
            ("sending application", [f"{s.sending_application}|{s.sending_facility or ''}" for s in self.source]),
        ):
            doubled = sorted({name for name in names if names.count(name) > 1})
            if doubled:
                raise ValueError(f"{what} {doubled[0]!r} stands twice; one raw name leads to one bed, one sender to one source")
        return self

    @model_validator(mode="after")
    def _a_study_is_answered_for(self) -> "SiteFile":
        if self.mode is Mode.STUDY:
            if self.study is None:
                raise ValueError("mode study needs [study] with protocol_id, clinical_owner, integration_owner, privacy_officer")
            if self.retention.journal_days is None:
                raise ValueError("mode study needs retention.journal_days")
        return self

    @cached_property
    def beds_by_raw_name(self) -> Mapping[str, SiteBed]:
        """Every raw name to its bed."""
        return {raw: bed for bed in self.bed for raw in (bed.name, *bed.aliases)}

    def bed_of(self, raw: str) -> Bed | None:
        """Return the bed that a raw name means, or None."""
        found = self.beds_by_raw_name.get(raw)
        return Bed(self.site, found.name) if found else None

    def bed_settings(self, bed: Bed) -> SiteBed:
        """Return what the file says of a bed; KeyError for a bed of elsewhere."""
        return self.beds_by_raw_name[bed.name]

    def source_of(self, application: str, facility: str) -> Source | None:
        """Return the source of MSH-3 and MSH-4 (first components): an exact pair before the application alone."""
        alone = None
        for source in self.source:
            if source.sending_application == application:
                if source.sending_facility == facility:
                    return source
                if source.sending_facility is None:
                    alone = source
        return alone


def _line_of(text: str, location: tuple[int | str, ...]) -> int:
    """Return the line of the key that a validation error speaks of: the n-th [[table]], then the key inside it."""
    lines = text.splitlines()
    at = 0
    names = [part for part in location if isinstance(part, str)]
    numbers = [part for part in location if isinstance(part, int)]
    if names and numbers:
        heads = [n for n, line in enumerate(lines) if re.match(rf"\s*\[\[\s*{re.escape(names[0])}\s*\]\]", line)]
        at = heads[numbers[0]] if numbers[0] < len(heads) else 0
        names = names[1:]
    for name in names:
        pattern = rf"\s*(\[\s*{re.escape(name)}\s*\]|{re.escape(name)}\s*=)"
        found = next((n for n in range(at, len(lines)) if re.match(pattern, lines[n])), None)
        at = found if found is not None else at
    return at + 1


def parse_site(text: str, path: str) -> SiteFile:
    """Return the checked site file; BadSite lists every fault as `path:line: key: what`."""
    try:
        raw: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        line = re.search(r"at line (\d+)", str(fault))
        raise BadSite(f"{path}:{line[1] if line else len(text.splitlines())}: no valid TOML: {fault}") from fault
    try:
        return SiteFile.model_validate(raw)
    except ValidationError as fault:
        lines = [
            f"{path}:{_line_of(text, error['loc'])}: {'.'.join(str(part) for part in error['loc']) or 'file'}: {error['msg']}"
            for error in fault.errors()
        ]
        raise BadSite("\n".join(lines)) from fault


def read_site(path: Path) -> SiteFile:
    """Read and check the site file."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as fault:
        raise BadSite(f"{path}: {fault.strerror}; give the site file's path in SOPOR_SITE or with --site") from fault
    return parse_site(text, str(path))
