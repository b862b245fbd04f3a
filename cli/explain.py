"""`sopor message explain`: what the listener would make of stored messages, without a listener."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

import typer

from backbone.clock import Clock, SystemClock
from cli.exits import CommandFault, ExitCode
from cli.place import settings
from cli.talk import JsonFlag, give, give_rows, give_text, say
from services.hl7_listener.code_set import CodeSet
from services.hl7_listener.explain import Explanation, Refused, Verdict, as_data, explanation_of
from services.hl7_listener.mapping import BadMapping, read_mapping
from services.hl7_listener.mapping_folder import MappingFolder
from services.hl7_listener.oru import Sender

PATTERN: Final = "*.hl7"
COLUMNS: Final = ("signal", "value", "unit", "observed_at", "status", "rate_hz", "count")


def explain(
    path: Annotated[Path, typer.Argument(metavar="FILE|DIR", help=f"A file of messages, or a folder: all {PATTERN} below it.")],
    mapping: Annotated[str, typer.Option(metavar="NAME", help="Mapping of the device family.")] = "generic_pcd01",
    zone: Annotated[str, typer.Option(metavar="IANA", help="Zone of times that carry none.")] = "UTC",
    as_json: JsonFlag = False,
) -> None:
    """Say what the listener would make of messages: answer, readings, and what it would refuse and why. Changes nothing."""
    paths, clock = _paths(path), SystemClock()
    sender = Sender(_codes(mapping), _zone(zone), timedelta(0), clock.now())
    verdicts: list[Verdict] = []
    for one in paths:
        begun_s = clock.monotonic_s()
        explanation = _explained(one, sender)
        _give_file(one, explanation, _milliseconds(begun_s, clock), as_json=as_json)
        verdicts.append(explanation.verdict)
    say(f"{len(verdicts)} file(s): " + ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in Verdict))
    if {Verdict.PARTIAL, Verdict.REFUSED} & set(verdicts):
        raise typer.Exit(ExitCode.PARTIAL)


def _paths(path: Path) -> list[Path]:
    """Return the files that are meant, in sorted order."""
    if not path.is_dir():
        if not path.is_file():
            raise CommandFault(f"{path}: no such file or folder", ExitCode.NOT_FOUND)
        return [path]
    paths = sorted(one for one in path.rglob(PATTERN) if one.is_file())
    if not paths:
        raise CommandFault(f"{path}: holds no {PATTERN}", ExitCode.NOT_FOUND)
    return paths


def _codes(mapping: str) -> CodeSet:
    folder = settings().mappings
    names = MappingFolder(folder).names()
    if mapping not in names:
        raise CommandFault(f"--mapping: {mapping!r} is none of {', '.join(names)}", ExitCode.USAGE)
    try:
        return read_mapping(folder, mapping)
    except BadMapping as fault:
        raise CommandFault(str(fault), ExitCode.CONFIG) from fault


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as fault:
        raise CommandFault(f"--zone: {name!r} is no zone of the IANA list, as in Europe/Berlin", ExitCode.USAGE) from fault


def _explained(path: Path, sender: Sender) -> Explanation:
    try:
        content = path.read_bytes()
    except OSError as fault:
        return Explanation(Verdict.REFUSED, refused=(Refused("unreadable_file", fault.strerror or type(fault).__name__),))
    return explanation_of(content, sender)


def _milliseconds(begun_s: float, clock: Clock) -> float:
    return round((clock.monotonic_s() - begun_s) * 1000, 3)


def _give_file(path: Path, explanation: Explanation, milliseconds: float, *, as_json: bool) -> None:
    # A file name that is no text in the file system's encoding is written with replacement characters.
    data = {"file": str(path).encode(errors="replace").decode(), **as_data(explanation), "milliseconds": milliseconds}
    if as_json:
        give(data)
        return
    give_text(f"{data['file']}  {milliseconds} ms")
    # A file of several messages has nothing of its own to tell but a batch's refusal.
    own = (data,) if data["refused"] or not explanation.messages else ()
    for message in (*own, *data.get("messages", ())):
        _give_message(message)


def _give_message(message: Mapping[str, Any]) -> None:
    """Write one message as a line and two tables."""
    named = " ".join(message[name] for name in ("message_type", "control_id", "ack") if message[name])
    give_text(f"  {message['outcome']}  {named}".rstrip())
    if message["readings"]:
        give_rows(message["readings"], COLUMNS, as_json=False)
    if message["refused"]:
        give_rows(_counted(message["refused"]), ("refused", "reason", "rows"), as_json=False)


def _counted(refused: Iterable[Mapping[str, str]]) -> Iterator[Mapping[str, Any]]:
    """Yield equal refusals once, with their number."""
    rows = [(row["code"], row["reason"]) for row in refused]
    for code, reason in dict.fromkeys(rows):
        yield {"refused": code, "reason": reason, "rows": rows.count((code, reason))}
