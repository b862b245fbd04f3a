"""`sopor audit`: the log that anyone can verify."""

import json
from pathlib import Path
from random import SystemRandom
from typing import Annotated, Any, Final
from uuid import UUID

import typer

from anesthesia.checkpoint import BadCheckpoint, Note, VerifierKey
from anesthesia.leaf import EventKind
from backbone.audit import Snapshot, StoredLeaf
from backbone.database import DatabaseDown
from backbone.site import read_site
from backbone.supervisor import status
from backbone.supervisor.state import State, holder
from cli.audit_log import look, note, reading
from cli.exits import CommandFault, ExitCode
from cli.place import SiteOption, StateOption, database_url_of, running_state, settings
from cli.replay.outcome import Replayed
from cli.talk import JsonFlag, give, give_rows, give_text, say
from services.ledger.checkpoint import PUBLIC, checked, public_key
from services.ledger.export import lines_of
from services.ledger.proof import inclusion_path, proof_text, root_of_stream
from services.ledger.verify import Audit, Fault, Report

app = typer.Typer(
    help="The audit log: verify it, show its leaves and their proofs, export it, make recorded scores again.", no_args_is_help=True
)
KeyOption = Annotated[Path | None, typer.Option("--key", metavar="FILE", help="The log's public key; else audit.pub of the state folder.")]
ArchiveOption = Annotated[
    Path | None, typer.Option("--archive", metavar="DIR", help="The input archive; else `archive` of the state folder.")
]
FAULT_COLUMNS: Final = ("what", "leaf", "case", "second", "text")
REPLAY_COLUMNS: Final = ("what", "case", "second", "text")
LEAF_COLUMNS: Final = ("index", "kind", "case_id", "second", "recorded_at", "entry")


def _key(option: Path | None, state: Path | None) -> VerifierKey:
    try:
        return public_key(option or running_state(state).keys / PUBLIC)
    except BadCheckpoint as fault:
        raise CommandFault(str(fault), ExitCode.NOT_FOUND) from fault


def _kept(path: Path | None, key: VerifierKey) -> Note | None:
    """Return the checkpoint that somebody kept elsewhere; one that this key did not sign proves that something is wrong."""
    if path is None:
        return None
    try:
        return checked(path.read_text(encoding="utf-8"), key)
    except (OSError, UnicodeDecodeError) as fault:
        raise CommandFault(f"{path}: cannot be read", ExitCode.NOT_FOUND) from fault
    except BadCheckpoint as fault:
        raise CommandFault(f"{path}: {fault}", ExitCode.INTEGRITY) from fault


def _row(fault: Fault) -> dict[str, Any]:
    case = None if fault.case_id is None else str(fault.case_id)
    return {"what": fault.what, "leaf": fault.index, "case": case, "second": fault.second, "text": fault.text}


def _tell(report: Report, *, as_json: bool) -> None:
    counted = f"{report.leaves} leaves ({report.records} of records), {report.checkpoints} checkpoints, {report.archives} archives"
    if as_json:
        numbers = {"leaves": report.leaves, "records": report.records, "checkpoints": report.checkpoints, "archives": report.archives}
        found = {"faults": report.fault_count, "first_faults": [_row(one) for one in report.faults]}
        covered = {"covered": report.newest_checkpoint, "root": report.root.hex()}
        give({"ok": not report.fault_count, **numbers, **covered, **found})
    if report.fault_count:
        say(f"{counted}: {report.fault_count} fault(s), the log or what it speaks of was changed", "red")
        if not as_json:
            give_rows([_row(one) for one in report.faults], FAULT_COLUMNS, as_json=False)
        return
    open_end = report.leaves - report.newest_checkpoint
    say(f"{counted}: all agree; {open_end} leaves are newer than the newest checkpoint", "green")


@app.command()
def verify(
    against: Annotated[Path | None, typer.Option("--against", metavar="FILE", help="A checkpoint that was kept elsewhere.")] = None,
    key: KeyOption = None,
    archive: ArchiveOption = None,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Recompute every leaf, root, signature, record and archive; exit 7 when something was changed, with the row named."""
    public = _key(key, state)
    outside = _kept(against, public)
    folder = archive or running_state(state).archive
    if not folder.is_dir():
        say(f"{folder}: not there, so no input archive is checked; give --archive DIR", "yellow")
    with reading(state) as found:
        report = Audit(found, public, outside, folder if folder.is_dir() else None).run()
    _tell(report, as_json=as_json)
    if report.fault_count:
        raise typer.Exit(ExitCode.INTEGRITY)


def _leaf_row(leaf: StoredLeaf) -> dict[str, Any]:
    case = None if leaf.case_id is None else str(leaf.case_id)
    at = leaf.recorded_at.isoformat(timespec="seconds")
    said = leaf.entry.decode(errors="replace")
    return {"index": leaf.index, "kind": leaf.kind, "case_id": case, "second": leaf.second, "recorded_at": at, "entry": said}


def _chosen(found: Snapshot, case: UUID | None, index: int | None, limit: int) -> list[StoredLeaf]:
    if index is not None:
        leaf = found.at(index)
        return [] if leaf is None else [leaf]
    return found.newest_leaves(limit) if case is None else found.of_case(case, limit)


def _prove(found: Snapshot, leaf: StoredLeaf, *, as_json: bool) -> None:
    """Write the proof of a leaf against the newest checkpoint."""
    head = found.newest_checkpoint()
    if head is None or head.size <= leaf.index:
        raise CommandFault(f"leaf {leaf.index}: no checkpoint covers it yet; there is one each minute", ExitCode.NOT_FOUND)
    path = inclusion_path(leaf.index, head.size, lambda start, end: root_of_stream(found.hashes(start, end)))
    if as_json:
        give({**_leaf_row(leaf), "size": head.size, "proof": [one.hex() for one in path], "checkpoint": head.note})
    else:
        give_text(leaf.entry.decode(errors="replace"))
        give_text(proof_text(leaf.index, path, head.note).rstrip("\n"))


@app.command()
def show(
    case: Annotated[UUID | None, typer.Option("--case", metavar="ID", help="Leaves of one case.", show_default=False)] = None,
    index: Annotated[int | None, typer.Option("--index", min=0, help="One leaf.", show_default=False)] = None,
    proof: Annotated[bool, typer.Option("--proof", help="With --index: prove it against the newest checkpoint.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many: a case's first, else the newest.")] = 100,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show leaves: the newest, those of a case, or one with its proof. That you looked has a leaf too."""
    if proof and index is None:
        raise CommandFault("a proof is of one leaf: add --index N", ExitCode.USAGE)
    note(look(EventKind.AUDIT_SHOWN, case, **({} if index is None else {"leaf": index})), state)
    with reading(state) as found:
        leaves = _chosen(found, case, index, limit)
        if not leaves:
            raise CommandFault("no such leaf", ExitCode.NOT_FOUND)
        if proof:
            _prove(found, leaves[0], as_json=as_json)
            return
    rows = [_leaf_row(leaf) for leaf in leaves]
    if as_json:
        give_rows(({**row, "entry": json.loads(row["entry"])} for row in rows), LEAF_COLUMNS, as_json=True)
    else:
        give_rows(rows, LEAF_COLUMNS[:-1], as_json=False)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="The file to write; it must not be there.")],
    key: KeyOption = None,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Write leaves and checkpoints to a file that `deploy/verify_audit.py` checks without Sopor."""
    public = _key(key, state)
    note(look(EventKind.AUDIT_EXPORTED, None), state)
    count = 0
    try:
        with file.open("x", encoding="utf-8", newline="\n") as out, reading(state) as found:
            for line in lines_of(found, public):
                out.write(line + "\n")
                count += line.startswith("L ")
    except OSError as fault:
        raise CommandFault(f"{file}: {fault.strerror}", ExitCode.USAGE) from fault
    say(f"{file}: {count} leaves; check it anywhere with `python3 verify_audit.py {file.name}`")
    if as_json:
        give({"path": str(file), "leaves": count})


@app.command()
def replay(
    case: Annotated[UUID | None, typer.Argument(metavar="[CASE]", help="A case ...", show_default=False)] = None,
    second: Annotated[int | None, typer.Argument(metavar="[SECOND]", help="... and a recorded second of it.", show_default=False)] = None,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="Without CASE: so many Predictions, drawn over all.")] = 20,
    state: StateOption = None,
    site: SiteOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Make recorded scores again from the input archive and the running model; exit 7 when one differs. That you looked has a leaf."""
    from cli.replay import replays  # brings the scorer's parts, which no other command of this group needs
    from cli.replay.sources import running_sources

    if (case is None) != (second is None):
        raise CommandFault("give a case and a second of it, or --count N", ExitCode.USAGE)
    place = running_state(state)
    sources = running_sources(place, read_site(_site_of(place, site)), database_url_of(place))
    try:
        if case is None or second is None:
            found = replays.replay(sources, count, SystemRandom())
        else:
            found = replays.replay_seconds(sources, [(case, second)], wait_s=replays.WAIT_S)
    except DatabaseDown as fault:
        raise CommandFault(f"{fault}: no records can be read there", ExitCode.UNREACHABLE) from fault
    if not found.asked:
        raise CommandFault("no such record", ExitCode.NOT_FOUND)
    _tell_replayed(found, as_json=as_json)


def _site_of(place: State, option: Path | None) -> Path:
    """Return the site file: the option, else that of what runs in the state folder, else SOPOR_SITE."""
    about = status.read(place) if holder(place) is not None else None
    return option or (Path(about.site) if about is not None else settings().site)


def _tell_replayed(found: Replayed, *, as_json: bool) -> None:
    rows = [{"what": one.outcome, "case": str(one.case_id), "second": one.second, "text": one.text} for one in found.differing]
    if as_json:
        give({"ok": not rows, "asked": found.asked, "equal": found.equal, "not_yet_archived": found.pending, "differing": rows})
    said = f"{found.equal} of {found.asked} came out as recorded"
    if not rows:
        say(said, "green")
        return
    say(said, "red")
    if not as_json:
        give_rows(rows, REPLAY_COLUMNS, as_json=False)
    raise typer.Exit(ExitCode.PARTIAL if found.pending == len(rows) else ExitCode.INTEGRITY)
