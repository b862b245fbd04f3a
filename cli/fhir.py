"""`sopor fhir`: what stands in the EHR, beside its proof in the audit log."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

import typer

from anesthesia.checkpoint import VerifierKey
from anesthesia.leaf import EventKind
from anesthesia.merkle import verify_inclusion
from backbone.audit import Snapshot, StoredLeaf
from backbone.clock import SystemClock
from backbone.site import read_site
from backbone.supervisor import status
from cli.audit_log import look, note, reading
from cli.exits import CommandFault, ExitCode
from cli.place import StateOption, running_state, settings
from cli.talk import JsonFlag, give, give_text, say
from services.ehr_writer.codes import WINDOW_ID, Json
from services.ehr_writer.ehr import Ehr
from services.ehr_writer.errors import BadTargets, EhrDown, Undelivered
from services.ehr_writer.proof import NoProof, claim_of, faults_of, meant
from services.ehr_writer.resources import window_id
from services.ehr_writer.targets import Target, read_targets
from services.ledger.checkpoint import PUBLIC, checked, public_key
from services.ledger.proof import inclusion_path, root_of_stream

app = typer.Typer(help="What was written to the EHR.", no_args_is_help=True)
REQUEST_S: Final = 10.0
TRY_S: Final = 30.0
MOST_LEAVES: Final = 200_000  # of one case: more than two days of seconds
MASKED: Final = {"display": "masked"}


@app.callback()
def _noun() -> None:
    """Keep `show` a word of its own while it is the only one."""


def _target(file: Path | None, name: str | None, state: Path | None) -> Target:
    """Return the EHR that is meant: of the file given, else of the demo that runs."""
    place = running_state(state)
    found = status.read(place)
    site = Path(found.site) if found is not None else settings().site
    try:
        targets = read_targets(file or place.folder / "ehr" / "targets.toml", read_site(site).mode)
    except BadTargets as fault:
        raise CommandFault(str(fault), ExitCode.CONFIG) from fault
    chosen = [target for target in targets if name in {None, target.name}]
    if len(chosen) != 1:
        raise CommandFault("give --target NAME, one of " + ", ".join(target.name for target in targets), ExitCode.USAGE)
    return chosen[0]


@contextmanager
def _asking(target: Target) -> Iterator[Ehr]:
    """Yield the EHR; what it does not answer, or not let us see, ends the command."""
    ehr = Ehr(target, SystemClock(), REQUEST_S)
    ehr.within(TRY_S)
    try:
        yield ehr
    except Undelivered as fault:
        code = ExitCode.UNREACHABLE if isinstance(fault, EhrDown) else ExitCode.AUTH
        raise CommandFault(f"EHR {target.name}: {fault.code}", code) from fault
    finally:
        ehr.close()


def _read_back(target: Target, case: UUID, minute: datetime) -> tuple[Json, Json]:
    with _asking(target) as ehr:
        observation = ehr.find("Observation", {"identifier": f"{WINDOW_ID}|{window_id(case, minute)}"})
        if observation is None:
            raise CommandFault(f"EHR {target.name}: no Observation of this minute of this case", ExitCode.NOT_FOUND)
        provenance = ehr.find("Provenance", {"target": f"Observation/{observation['id']}"})
    if provenance is None:
        raise CommandFault(f"EHR {target.name}: the Observation has no Provenance there", ExitCode.NOT_FOUND)
    return {**observation, "subject": MASKED}, provenance


def _proved(found: Snapshot, leaf: StoredLeaf, key: VerifierKey) -> dict[str, Any]:
    """Return a leaf with its proof against the newest checkpoint, checked here and now."""
    head = found.newest_checkpoint()
    if head is None or head.size <= leaf.index:
        raise CommandFault(f"leaf {leaf.index}: no checkpoint covers it yet; there is one each minute", ExitCode.NOT_FOUND)
    checkpoint = checked(head.note, key).checkpoint
    path = inclusion_path(leaf.index, head.size, lambda start, end: root_of_stream(found.hashes(start, end)))
    holds = verify_inclusion(leaf.leaf_hash, leaf.index, checkpoint.size, path, checkpoint.root)
    proof = {"size": head.size, "path": [one.hex() for one in path], "checkpoint": head.note, "holds": holds}
    return {"index": leaf.index, "entry": json.loads(leaf.entry), "leaf_hash": leaf.leaf_hash.hex(), "proof": proof}


@app.command()
def show(
    case: Annotated[UUID, typer.Argument(help="The case.")],
    minute: Annotated[datetime, typer.Argument(formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:00Z"], help="Start of the minute, UTC.")],
    targets: Annotated[Path | None, typer.Option(metavar="FILE", help="The targets file; else the running demo's.")] = None,
    target: Annotated[str | None, typer.Option(metavar="NAME", help="Which EHR, when the file has several.")] = None,
    state: StateOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show one Observation as the EHR has it, its Provenance, and its proof in the audit log; exit 7 when they disagree.

    The patient stays masked. That you looked has a leaf.
    """
    begins = minute.replace(tzinfo=UTC)
    note(look(EventKind.RESOURCE_SHOWN, case, minute=int(begins.timestamp())), state)
    observation, provenance = _read_back(_target(targets, target, state), case, begins)
    public = public_key(running_state(state).keys / PUBLIC)
    with reading(state) as found:
        try:
            claim = claim_of(provenance)
        except NoProof as fault:
            raise CommandFault(str(fault), ExitCode.NOT_FOUND) from fault
        leaves = meant(claim, found.of_case(case, MOST_LEAVES))
        faults = faults_of(claim, observation, public.name, leaves)
        proved = [_proved(found, leaf, public) for leaf in dict.fromkeys((*leaves[:1], *leaves[-1:]))]
    faults += [f"leaf {one['index']}: its proof does not hold" for one in proved if not one["proof"]["holds"]]
    _give(observation, provenance, {"leaves": len(leaves), "proved": proved, "faults": faults}, as_json=as_json)
    if faults:
        raise typer.Exit(ExitCode.INTEGRITY)


def _give(observation: Json, provenance: Json, proof: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        give({"observation": observation, "provenance": provenance, **proof})
    else:
        for title, data in (("Observation", observation), ("Provenance", provenance), ("Leaves and proofs", proof["proved"])):
            give_text(f"# {title}\n{json.dumps(data, indent=2, ensure_ascii=False)}")
    for fault in proof["faults"]:
        say(fault, "red")
    if not proof["faults"]:
        say(f"{proof['leaves']} leaves: EHR and audit log agree, and the first and the last are proved", "green")
