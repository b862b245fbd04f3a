"""`sopor code map` and `approve`: how a mapping changes. One proposes, another approves; the listener takes it up by itself."""

from difflib import unified_diff
from pathlib import Path
from typing import Annotated, Final

import typer

from anesthesia.leaf import Event, EventKind
from anesthesia.signal import SIGNALS, Kind
from backbone.clock import SystemClock
from cli.audit_log import note, operator
from cli.exits import CommandFault, ExitCode
from cli.mapping_draft import NoDraft, Row, with_row, with_unit
from cli.place import StateOption, settings
from cli.talk import JsonFlag, give, give_text, say
from services.hl7_listener.mapping import BadMapping
from services.hl7_listener.mapping_folder import MappingFolder, NotApprovable

MappingArgument = Annotated[str, typer.Argument(metavar="MAPPING", help="Its name, without .yaml.")]
FIELDS: Final = (
    "Of the row: code=NUMBER^NAME^SYSTEM and unit=... as they are sent; signal=NAME, or quantity=NAME for a pump, or neither: known and "
    "passed over; scale, offset, channel, drugs=A,B, code_status=vendor|local."
)
NUMBERS: Final = ("scale", "offset")
SHOWN: Final = 12  # characters of a digest that people compare


def map_(
    mapping: MappingArgument,
    fields: Annotated[list[str] | None, typer.Argument(metavar="FIELD=VALUE...", help=FIELDS)] = None,
    ucum: Annotated[str | None, typer.Option(help="What `unit` is in UCUM, when the file does not know it yet.")] = None,
    file: Annotated[Path | None, typer.Option(metavar="PATH", help="The whole file as it shall be, instead of one row.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Propose a row of a mapping, or a whole file. Nothing goes live before somebody else approves."""
    folder = MappingFolder(settings().mappings)
    if bool(fields) == (file is not None):
        raise CommandFault("give the fields of one row, or --file for a whole mapping", ExitCode.USAGE)
    data = _bytes_of(file) if file else _drafted(folder.draft(mapping), _row_of(fields or []), ucum)
    try:
        proposal = folder.propose(mapping, data, operator(), SystemClock().now())
    except NotApprovable as fault:
        raise CommandFault(str(fault), ExitCode.CONFIG) from fault
    say(f"{mapping}: proposed by {', '.join(proposal.authors)}; somebody else approves: `sopor code approve {mapping}`")
    if as_json:
        give(proposal.model_dump(mode="json"))


def approve(
    mapping: MappingArgument,
    digest: Annotated[str | None, typer.Option(help="Of the candidate that you saw; at least its first 12 characters.")] = None,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show what a candidate changes; with its --digest let it go live. Its author cannot."""
    folder, at = MappingFolder(settings().mappings), SystemClock().now()
    try:
        data, proposal = folder.proposed(mapping)
        if digest is None:
            give_text(_difference(folder, mapping, data))
            say(f"written by {', '.join(proposal.authors)}; to approve: `sopor code approve {mapping} --digest {proposal.digest[:SHOWN]}`")
            return
        if len(digest) < SHOWN or not proposal.digest.startswith(digest):
            raise CommandFault(f"{mapping}: the candidate's digest is {proposal.digest[:SHOWN]}..., look at it again", ExitCode.USAGE)
        approval = folder.agreed(mapping, proposal.digest, operator(), at)
        about = {"mapping": mapping, "digest": approval.digest, "replaces": approval.replaces, "authors": ", ".join(approval.authors)}
        event = Event(EventKind.MAPPING_APPROVED, at, f"operator:{approval.approver}", about=about)
        note(event, state, "that you approve, so nothing goes live")
        folder.make_live(approval)
    except NotApprovable as fault:
        raise CommandFault(str(fault), ExitCode.CHECK_FAILED) from fault
    say(f"{mapping}: live since now; a running listener takes it up within seconds")
    if as_json:
        give(approval.model_dump(mode="json"))


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as fault:
        raise CommandFault(f"{path}: {fault.strerror}", ExitCode.NOT_FOUND) from fault


def _row_of(fields: list[str]) -> Row:
    """Return FIELD=VALUE words as a row; whether it can be one is the file's check to say."""
    words = dict(word.partition("=")[::2] for word in fields)
    if len(words) < len(fields) or "" in words.values():
        raise CommandFault("each word is FIELD=VALUE, each field once", ExitCode.USAGE)
    try:
        return {name: float(text) if name in NUMBERS else text.split(",") if name == "drugs" else text for name, text in words.items()}
    except ValueError as fault:
        raise CommandFault(f"{' and '.join(NUMBERS)} are numbers", ExitCode.USAGE) from fault


def _section_of(row: Row) -> str:
    if "quantity" in row:
        return "pump"
    if "signal" not in row:
        return "passed_over"
    signal = SIGNALS.get(str(row["signal"]))
    return "waveforms" if signal is not None and signal.kind is Kind.WAVEFORM else "numerics"


def _drafted(before: bytes, row: Row, ucum: str | None) -> bytes:
    """Return a file with one more row, and with its unit when that is new."""
    try:
        text = before.decode()
        text = with_unit(text, str(row.get("unit", "")), ucum) if ucum is not None else text
        return with_row(text, _section_of(row), row).encode()
    except (NoDraft, UnicodeDecodeError) as fault:
        raise CommandFault(str(fault), ExitCode.CONFIG) from fault


def _difference(folder: MappingFolder, mapping: str, data: bytes) -> str:
    """Return what would change in the live file, as a patch."""
    path = folder.path(mapping)
    try:
        before = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        after = data.decode().splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise BadMapping(f"{path}: cannot be read as text") from fault
    return "\n".join(unified_diff(before, after, f"live/{mapping}.yaml", f"candidate/{mapping}.yaml", lineterm=""))
