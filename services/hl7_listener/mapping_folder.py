"""The folder of mappings: what is live, what somebody proposes, and who approved. Files only; no server is asked.

    NAME.yaml                 live
    candidates/NAME.yaml      proposed; candidates/NAME.json says by whom, and what it would replace
    approvals/DIGEST.json     an approved file's SHA-256, its authors and who approved

An approval names bytes, not a file: what was edited afterwards has none. It guards against mistakes of one person. Whoever may write to the
folder can also write an approval; the audit log then lacks `mapping_approved` for the digest that its other events name.
"""

import hashlib
import os
import re
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from anesthesia.errors import SoporError
from backbone.site import Mode, SiteFile
from services.hl7_listener.code_set import CodeSet
from services.hl7_listener.mapping import BadMapping, bytes_of, parse_mapping

SHIPPED: Final = Path(__file__).parents[2] / "deploy" / "mappings"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class NotApprovable(SoporError):
    """A change that may not go live, or not be proposed here; the text says why and what now."""


class _Stated(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Proposal(_Stated):
    """Who wrote a candidate. `replaces` is the digest of what was live then; empty for a new mapping."""

    mapping: str
    digest: str
    replaces: str
    authors: tuple[str, ...]
    at: datetime


class Approval(_Stated):
    """Who let a mapping go live that others wrote."""

    mapping: str
    digest: str
    replaces: str
    authors: tuple[str, ...]
    approver: str
    at: datetime


def digest_of(data: bytes) -> str:
    """Return a mapping's digest, as records and events name it."""
    return hashlib.sha256(data).hexdigest()


class MappingFolder:
    """One folder of mappings."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; what is missing in it is made when it is needed."""
        self._folder = folder

    def names(self) -> list[str]:
        """Return the names of the live mappings."""
        return sorted(path.stem for path in self._folder.glob("*.yaml"))

    def path(self, name: str) -> Path:
        """Return the path of a live mapping; BadMapping for what is no name."""
        return self._folder / f"{_checked(name)}.yaml"

    # ---- what is live --------------------------------------------------------------------------------------------------------

    def live(self, name: str, *, approved_only: bool) -> CodeSet:
        """Return the code set of a live mapping; BadMapping when it is wrong, or approved by nobody although it must be."""
        path = self.path(name)
        data = bytes_of(path)
        if approved_only and not _is_shipped(name, data) and self.approval_of(name, digest_of(data)) is None:
            raise BadMapping(f"{path}: nobody approved this file as it is; `sopor code map {name} --file` and `sopor code approve {name}`")
        return parse_mapping(data, path.name)

    def approval_of(self, name: str, digest: str) -> Approval | None:
        """Return the approval of a mapping's bytes by somebody who wrote none of them; None when there is none that holds."""
        try:
            found = Approval.model_validate_json((self._folder / "approvals" / f"{digest}.json").read_bytes())
        except (OSError, ValidationError):
            return None
        holds = found.mapping == name and found.digest == digest and found.authors and found.approver not in found.authors
        return found if holds else None

    def newer(self, name: str, digest: str) -> CodeSet | None:
        """Return the live mapping if it is another than that with this digest and was approved; BadMapping when it may not be used."""
        data = bytes_of(self.path(name))
        found = digest_of(data)
        if found == digest:
            return None
        if self.approval_of(name, found) is None:
            raise BadMapping(f"{self.path(name)}: nobody approved this file as it is")
        return parse_mapping(data, f"{name}.yaml")

    # ---- what is proposed ----------------------------------------------------------------------------------------------------

    def draft(self, name: str) -> bytes:
        """Return what a change begins with: the candidate, else the live file; BadMapping when there is neither."""
        candidate = self._candidate(name)
        return bytes_of(candidate if candidate.exists() else self.path(name))

    def propose(self, name: str, data: bytes, author: str, at: datetime) -> Proposal:
        """Keep a checked file as the candidate. Who wrote at an earlier candidate remains its author."""
        self._refuse_the_shipped()
        parse_mapping(data, f"{name}.yaml")
        earlier = self._proposal(name)
        authors = tuple(dict.fromkeys((*(earlier.authors if earlier else ()), author)))
        proposal = Proposal(mapping=name, digest=digest_of(data), replaces=self._live_digest(name), authors=authors, at=at)
        _write(self._candidate(name), data)
        _write(self._candidate(name).with_suffix(".json"), proposal.model_dump_json(indent=2).encode())
        return proposal

    def proposed(self, name: str) -> tuple[bytes, Proposal]:
        """Return the candidate and who wrote it; NotApprovable when there is none, or it no longer is what was proposed."""
        proposal = self._proposal(name)
        if proposal is None or not self._candidate(name).exists():
            raise NotApprovable(f"{self._candidate(name)}: no change is proposed; `sopor code map {name}` proposes one")
        data = bytes_of(self._candidate(name))
        if digest_of(data) != proposal.digest:
            raise NotApprovable(f"{self._candidate(name)}: changed after it was proposed; propose it anew: `sopor code map {name} --file`")
        if self._live_digest(name) != proposal.replaces:
            raise NotApprovable(f"{self.path(name)}: changed since the candidate was made from it; propose the change anew")
        return data, proposal

    # ---- how it goes live ----------------------------------------------------------------------------------------------------

    def agreed(self, name: str, digest: str, approver: str, at: datetime) -> Approval:
        """Return the approval of the candidate with this digest; NotApprovable, also for its author. Nothing is live yet."""
        data, proposal = self.proposed(name)
        if proposal.digest != digest:
            raise NotApprovable(f"{name}: the candidate's digest is {proposal.digest}, not the one that you saw")
        if approver in proposal.authors:
            raise NotApprovable(f"{name}: {approver} wrote it; somebody else has to approve")
        parse_mapping(data, f"{name}.yaml")
        return Approval(**proposal.model_dump(exclude={"at"}), approver=approver, at=at)

    def make_live(self, approval: Approval) -> None:
        """Let an agreed candidate replace the live file. The approval is there first: whoever sees the new file can see who approved it."""
        self._refuse_the_shipped()
        data = bytes_of(self._candidate(approval.mapping))
        if digest_of(data) != approval.digest:
            raise NotApprovable(f"{approval.mapping}: the candidate was changed meanwhile")
        _write(self._folder / "approvals" / f"{approval.digest}.json", approval.model_dump_json(indent=2).encode())
        _write(self.path(approval.mapping), data)
        self._candidate(approval.mapping).unlink()
        self._candidate(approval.mapping).with_suffix(".json").unlink()

    def _candidate(self, name: str) -> Path:
        return self._folder / "candidates" / f"{_checked(name)}.yaml"

    def _proposal(self, name: str) -> Proposal | None:
        try:
            return Proposal.model_validate_json(self._candidate(name).with_suffix(".json").read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as fault:
            raise NotApprovable(f"{self._candidate(name).with_suffix('.json')}: cannot be read; remove it and propose anew") from fault

    def _live_digest(self, name: str) -> str:
        path = self.path(name)
        return digest_of(bytes_of(path)) if path.exists() else ""

    def _refuse_the_shipped(self) -> None:
        if self._folder.resolve() == SHIPPED.resolve():
            raise NotApprovable(f"{SHIPPED}: comes with Sopor and stays as it is; copy it and name the copy in SOPOR_MAPPINGS")


def needs_approval(site: SiteFile) -> bool:
    """Tell whether a site may only use mappings that come with Sopor or were approved: where its patients are real."""
    return site.mode is not Mode.SIMULATION


def codes_of(site: SiteFile, folder: Path) -> dict[str, CodeSet]:
    """Return the code set of every mapping that a site file names; BadMapping when one may not be used."""
    names = sorted({source.mapping for source in site.source if source.mapping is not None})
    return {name: MappingFolder(folder).live(name, approved_only=needs_approval(site)) for name in names}


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise BadMapping(f"{name!r} is no name of a mapping: letters, digits, _ and -")
    return name


def _is_shipped(name: str, data: bytes) -> bool:
    path = SHIPPED / f"{name}.yaml"
    return path.exists() and path.read_bytes() == data


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(path.name + ".new")
        with fresh.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as fault:
        raise NotApprovable(f"{path}: {fault.strerror}; SOPOR_MAPPINGS names a folder that you may write") from fault
