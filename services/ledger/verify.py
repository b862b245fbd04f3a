"""The audit: whether leaves, tree, checkpoints and records agree, and if not, which row. Reads only.

Every leaf is made again from the row it names; every root again from the leaves. A fault names leaf, case and second.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast
from uuid import UUID

from anesthesia.checkpoint import BadCheckpoint, Note, VerifierKey
from anesthesia.errors import BadValue, BadWire
from anesthesia.leaf import moment
from anesthesia.merkle import HASH_BYTES, Range, leaf_hash
from backbone.audit import Snapshot, StoredArchive, StoredCheckpoint, StoredIdentity, StoredIntake, StoredLeaf
from backbone.wire import unpack_record
from services.ledger.archive_folder import fault_of
from services.ledger.checkpoint import checked
from services.ledger.leaves import Kind, digest, intake_leaf, record_leaf
from services.ledger.proof import Growing
from services.ledger.records import Row, row_of

SHOWN: Final = 100
KINDS: Final = frozenset(kind.value for kind in Kind)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that does not hold, and where."""

    what: str
    text: str
    index: int | None = None
    case_id: UUID | None = None
    second: int | None = None


@dataclass(slots=True)
class Report:
    """What an audit came to. The first hundred faults are kept, all are counted."""

    leaves: int = 0
    records: int = 0
    checkpoints: int = 0
    archives: int = 0
    newest_checkpoint: int = 0
    root: bytes = b""
    faults: list[Fault] = field(default_factory=list)
    fault_count: int = 0

    def add(self, fault: Fault) -> None:
        """Take a fault."""
        self.fault_count += 1
        if len(self.faults) < SHOWN:
            self.faults.append(fault)


def changed_names(entry: bytes, expected: bytes) -> str:
    """Return the names on which two leaves differ."""
    try:
        stored, right = json.loads(entry), json.loads(expected)
    except ValueError:
        return "no JSON"
    if not isinstance(stored, dict):
        return "no JSON object"
    return ", ".join(sorted(name for name in stored.keys() | right.keys() if stored.get(name) != right.get(name))) or "spelling"


class Audit:
    """One pass over a snapshot."""

    def __init__(self, snapshot: Snapshot, key: VerifierKey, against: Note | None = None, archive: Path | None = None) -> None:
        """Take the snapshot, the log's public key, a checkpoint that somebody kept elsewhere, and the folder of the input archive."""
        self._snapshot, self._key, self._against, self._archive = snapshot, key, against, archive
        self._report = Report()
        self._tree: Growing | None = Growing()  # None: a leaf is missing, no root after it can be known
        self._last = -1
        self._agreed = 0  # the newest size whose root agreed with a checkpoint

    def run(self, progress: Callable[[int], None] = lambda _: None) -> Report:
        """Return what holds and what does not; `progress` is told the number of leaves now and then."""
        checkpoints = self._signed(self._snapshot.checkpoints())
        pending = next(checkpoints, None)
        for leaf, record in self._snapshot.leaves():
            self._take(leaf, record)
            while pending is not None and pending.size <= leaf.index + 1:
                self._compare(pending)
                pending = next(checkpoints, None)
            if self._against is not None and self._against.checkpoint.size == leaf.index + 1:
                self._compare_outside(self._against)
            if not self._report.leaves % 10_000:
                progress(self._report.leaves)
        self._beyond(pending, checkpoints)
        self._head()
        self._rows()
        return self._report

    # ---- leaves --------------------------------------------------------------------------------------------------------------

    def _take(self, leaf: StoredLeaf, record: Mapping[str, Any] | None) -> None:
        report = self._report
        expected_index = self._last + 1
        if leaf.index != expected_index:
            gap = f"leaf {expected_index}" if leaf.index == expected_index + 1 else f"leaves {expected_index} to {leaf.index - 1}"
            report.add(Fault("leaf_missing", f"{gap} missing; no root after it can be recomputed", expected_index))
            self._tree = None
        self._last = leaf.index
        hashed = leaf_hash(leaf.entry)
        if hashed != leaf.leaf_hash:
            self._fault("leaf_hash", leaf, "the stored hash is not that of the entry")
        if self._tree is not None:
            self._tree.append(hashed)
        report.leaves += 1
        if leaf.kind == Kind.RECORD:
            report.records += 1
            self._record(leaf, record)
        else:
            self._other(leaf)

    def _fault(self, what: str, leaf: StoredLeaf, text: str) -> None:
        self._report.add(Fault(what, text, leaf.index, leaf.case_id, leaf.second))

    def _record(self, leaf: StoredLeaf, record: Mapping[str, Any] | None) -> None:
        if record is None:
            self._fault("record_missing", leaf, "its record is not in the table")
            return
        row = cast("Row", record)
        expected = record_leaf(row).entry(leaf.index, leaf.recorded_at)
        if expected != leaf.entry:
            self._fault("record_differs", leaf, f"record and leaf differ in: {changed_names(leaf.entry, expected)}")
            return
        try:
            true_row = row_of(unpack_record(row["payload"]), row["payload"])
        except BadWire:
            self._fault("record_differs", leaf, "the record's payload does not decode")
            return
        if true_row != row:
            names = ", ".join(name for name in true_row if true_row[name] != row[name])  # type: ignore[literal-required]
            self._fault("record_differs", leaf, f"columns differ from the record's own bytes: {names}")

    def _other(self, leaf: StoredLeaf) -> None:
        """Check that the columns of a leaf say what its entry says."""
        try:
            says = json.loads(leaf.entry)
            inner = says.get("event", says)
            case_id = inner.get("case_id")
            same = (says["index"], says["at"], says["kind"]) == (leaf.index, moment(leaf.recorded_at), leaf.kind)
        except (AttributeError, KeyError, TypeError, ValueError):
            self._fault("leaf_entry", leaf, "the entry is no leaf")
            return
        if not same or leaf.kind not in KINDS or case_id != (None if leaf.case_id is None else str(leaf.case_id)):
            self._fault("leaf_entry", leaf, f"the columns of the leaf are not what it says (it says index {says.get('index')})")

    # ---- roots ---------------------------------------------------------------------------------------------------------------

    def _signed(self, checkpoints: Iterator[StoredCheckpoint]) -> Iterator[StoredCheckpoint]:
        """Check the signature of each checkpoint as it passes."""
        for one in checkpoints:
            self._report.checkpoints += 1
            self._report.newest_checkpoint = one.size
            try:
                note = checked(one.note, self._key)
                if (note.checkpoint.size, note.checkpoint.root) != (one.size, one.root):
                    self._report.add(Fault("checkpoint", f"the note of the checkpoint over {one.size} leaves is another one's", one.size))
            except BadCheckpoint as fault:
                self._report.add(Fault("checkpoint", f"over {one.size} leaves: {fault}", one.size))
            yield one

    def _compare(self, one: StoredCheckpoint) -> None:
        if self._tree is None:
            return
        if (self._tree.size, self._tree.range().root()) != (one.size, one.root):
            text = (
                f"the root of the checkpoint over {one.size} leaves is not that of the leaves; the last one that is covers {self._agreed}"
            )
            self._report.add(Fault("root", text, one.size))
        else:
            self._agreed = one.size

    def _compare_outside(self, note: Note) -> None:
        if self._tree is None or self._tree.range().root() != note.checkpoint.root:
            text = f"the leaves are not those of the checkpoint over {note.checkpoint.size} leaves that was kept elsewhere"
            self._report.add(Fault("against", text, note.checkpoint.size))

    def _beyond(self, pending: StoredCheckpoint | None, rest: Iterator[StoredCheckpoint]) -> None:
        """Find checkpoints over more leaves than there are: the tail was cut off."""
        while pending is not None:
            if pending.size > 0:
                text = f"a checkpoint covers {pending.size} leaves, {self._report.leaves} are there: the tail is missing"
                self._report.add(Fault("tail_missing", text, self._report.leaves))
            pending = next(rest, None)
        outside = self._against
        if outside is not None and outside.checkpoint.size > self._report.leaves:
            text = f"the checkpoint kept elsewhere covers {outside.checkpoint.size} leaves, {self._report.leaves} are there"
            self._report.add(Fault("against", f"{text}: the tail is missing, or this is an older backup", self._report.leaves))

    def _head(self) -> None:
        head = self._snapshot.head()
        if head is None:
            if self._report.leaves:
                self._report.add(Fault("tree", "the row of `tree` is missing"))
            return
        if (head.size, head.records) != (self._report.leaves, self._report.records):
            there = f"{self._report.leaves} leaves, {self._report.records} of them of records, are there"
            self._report.add(Fault("tree", f"the tree counts {head.size} leaves, {head.records} of records; {there}", self._report.leaves))
        if self._tree is None:
            return
        self._report.root = self._tree.range().root()
        if _stored(head.size, head.roots) != self._tree.range():
            self._report.add(Fault("tree", f"the row of `tree` is not the tree of the leaves; they agree up to {self._agreed}"))

    # ---- what the leaves speak of --------------------------------------------------------------------------------------------

    def _rows(self) -> None:
        for case_id, second in self._snapshot.without_leaf(SHOWN):
            self._report.add(Fault("record_added", "a record without a leaf", None, case_id, second))
        for case_id, second, index in self._snapshot.doubled(SHOWN):
            self._report.add(Fault("leaf_doubled", "more than one leaf for a record", index, case_id, second))
        for identity in self._snapshot.identities():
            text = _identity_fault(identity)
            if text is not None:
                self._report.add(Fault("identity", text, identity.index, identity.case_id))
        for intake in self._snapshot.intake():
            if not _taken_in(intake):
                self._report.add(Fault("intake", f"row {intake.number} of audit_intake is not what its leaf says", intake.index))
        if self._archive is not None:
            self._archives(self._archive)

    def _archives(self, folder: Path) -> None:
        """Compare each case's file with its row, and the row of a closed one with the leaf of its closing."""
        said = self._snapshot.archives_closed()
        for stored in self._snapshot.archives():
            self._report.archives += 1
            index, entry = said.get(stored.case_id, (None, b""))
            text = None if stored.wrapped_key is None else fault_of(folder, stored)
            if text is None and stored.closed_at is not None and entry and not _closes(entry, stored):
                text = f"archive of case {stored.case_id}: its row is not what the leaf of its closing says"
            if text is not None:
                self._report.add(Fault("archive", text, index, stored.case_id))


def _closes(entry: bytes, stored: StoredArchive) -> bool:
    try:
        event = json.loads(entry)["event"]
        says = tuple(event[name] for name in ("chunks", "size", "entries", "digest"))
    except (ValueError, KeyError, TypeError):
        return False
    return says == (stored.chunks, stored.size, stored.entries, stored.digest.hex())


def _stored(size: int, roots: bytes) -> Range | None:
    try:
        return Range(size, tuple(roots[n : n + HASH_BYTES] for n in range(0, len(roots), HASH_BYTES)))
    except BadValue:
        return None


def _taken_in(intake: StoredIntake) -> bool:
    if intake.leaf_entry is None or intake.recorded_at is None:
        return False
    return intake_leaf(intake.number, intake.entry).entry(intake.index, intake.recorded_at) == intake.leaf_entry


def _identity_fault(stored: StoredIdentity) -> str | None:
    """Return what is wrong between an identity and the newest leaf of its Occupancy."""
    if stored.entry is None:
        return "an identity without the leaf of an Occupancy"
    if stored.pseudonym is None or stored.started_at is None or stored.sealed_identity is None:
        return "the identity that its leaf speaks of is not in the table"
    is_now = {
        "pseudonym": stored.pseudonym,
        "site": stored.site,
        "bed": stored.bed,
        "started": moment(stored.started_at),
        "ended": "" if stored.ended_at is None else moment(stored.ended_at),
        "simulated": stored.simulated,
        "sealed": digest(stored.sealed_identity),
    }
    try:
        says = json.loads(stored.entry)
    except ValueError:
        return "the leaf of its Occupancy is no JSON"
    names = ", ".join(name for name, value in is_now.items() if says.get(name) != value)
    return f"identity and leaf differ in: {names}" if names else None
