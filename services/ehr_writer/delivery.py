"""One try at one row: claim it, find the patient, store Device, Observation and Provenance once each, say what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final

from anesthesia.leaf import EventKind
from backbone.ehr_tables import OutboxState
from backbone.telemetry import logger
from backbone.vault import Seal
from services.ehr_writer import resources
from services.ehr_writer.audit import audit_of, leave, origin_of
from services.ehr_writer.codes import MODEL_ID, WINDOW_ID, Json
from services.ehr_writer.content import AuditSummary, frozen, thawed
from services.ehr_writer.ehr import Ehr
from services.ehr_writer.errors import EhrDown, EhrRefused, LedgerBehind, NeedsPeople, Undelivered
from services.ehr_writer.identity import Person, agree, person_of
from services.ehr_writer.outbox import Claim, Outbox
from services.ehr_writer.resources import Subject
from services.ehr_writer.summary import Summary, Withheld
from services.ehr_writer.targets import Target, TargetMode

WORDS_PURPOSE: Final = "ehr-words"
LEDGER_PAUSE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a worker tries, and how long it waits."""

    try_s: float
    lease_s: float
    held_s: float
    backoff_s: float
    longest_backoff_s: float
    most_faults: int


def backoff_s(attempts: int, patience: Patience, random: Random) -> float:
    """Return a pause with full jitter: anything up to twice the mean, which doubles with each try."""
    return random.uniform(0, min(patience.longest_backoff_s, patience.backoff_s * 2.0 ** min(attempts, 16)))


@dataclass(slots=True)
class Courier:
    """What a worker process keeps between two tries: connections, and the Devices that are known to be there."""

    outbox: Outbox
    seal: Seal
    ehrs: Mapping[str, Ehr]
    targets: Mapping[str, Target]
    patience: Patience
    random: Random
    devices: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def deliver(self, row_id: int) -> None:
        """Try the row once, if it is ours to take. Raises DatabaseDown only; the lease then brings the row back."""
        claim = self.outbox.claim(row_id, self.patience.lease_s)
        if claim is None:
            return
        try:
            self._try(claim)
        except Undelivered as fault:
            self._later_or_never(claim, fault)

    def _try(self, claim: Claim) -> None:
        target = self.targets.get(claim.target)
        if target is None or target.mode is TargetMode.OFF:
            raise NeedsPeople("target_off")
        content, place = self._content(claim), self._place(claim, target)
        if target.mode is TargetMode.DRY_RUN:
            self._rehearse(claim, content, place)
            return
        found, version = self._write(claim, content, place)
        self.outbox.finish(
            claim, OutboxState.DONE, {"resource": f"Observation/{found}"}, resource_id=found, version_id=version, reason=None
        )
        logger().info("written", target=target.name, kind=claim.kind, case_id=str(claim.case_id), attempts=claim.attempts)

    def _content(self, claim: Claim) -> Summary | Withheld | AuditSummary:
        """Return what the row says; a closed case is counted at its first try, and that count stays."""
        if claim.content is None:
            with self.outbox.reading() as connection:
                counted = audit_of(connection, claim.case_id, claim.target, int(claim.window_end.timestamp()))
            self.outbox.freeze(claim, frozen(counted))
            return counted
        return thawed(claim.kind, claim.content)

    def _place(self, claim: Claim, target: Target) -> Subject:
        """Return where the row's resources belong, before anybody is looked up; LedgerBehind while the log cannot be named."""
        with self.outbox.reading() as connection:
            origin = origin_of(connection)
        return Subject(
            case_id=claim.case_id,
            window_start=claim.window_start,
            planned_at=claim.planned_at,
            origin=origin,
            patient_id=None,
            simulated=claim.simulated,
            provenance=target.accepts("Provenance"),
        )

    def _rehearse(self, claim: Claim, content: Summary | Withheld | AuditSummary, place: Subject) -> None:
        """Build and check all that would be sent."""
        device_id = None
        if isinstance(content, Summary) and self.targets[claim.target].accepts("Device"):
            device_id = resources.device_resource(content.model, content.model_digest)["id"]
        subject = replace(place, device_id=device_id)
        observation = observation_of(content, subject)
        if not isinstance(content, AuditSummary) and subject.provenance:
            resources.provenance_of(content, subject, observation["id"])
        self.outbox.finish(claim, OutboxState.DRY_RUN, {}, resource_id=observation["id"], reason=None)

    def _write(self, claim: Claim, content: Summary | Withheld | AuditSummary, place: Subject) -> tuple[str, str | None]:
        ehr = self.ehrs[claim.target]
        ehr.within(self.patience.try_s)
        person = self._person(claim)
        patient_id = agree(person, ehr.find_patient(person.identifier), ehr.target)
        subject = replace(place, patient_id=patient_id, device_id=self._device_id(content, ehr))
        observation = observation_of(content, subject)
        found, version = ehr.store(observation, {"identifier": f"{WINDOW_ID}|{observation['id']}"})
        if subject.provenance and not isinstance(content, AuditSummary):
            ehr.store(resources.provenance_of(content, subject, found), {"target": f"Observation/{found}"})
        return found, version

    def _person(self, claim: Claim) -> Person:
        """Open who the case is about; that it was opened has a leaf, whatever comes of the try."""
        with self.outbox.reading() as connection:
            leave(connection, EventKind.IDENTITY_OPENED, claim.case_id, {"target": claim.target, "row": claim.row_id})
            return person_of(connection, claim.case_id, self.seal)

    def _device_id(self, content: Summary | Withheld | AuditSummary, ehr: Ehr) -> str | None:
        """Return the id of the model's Device at the target, storing it there the first time; None where the EHR takes none."""
        if not isinstance(content, Summary) or not ehr.target.accepts("Device"):
            return None
        key = (ehr.target.name, content.model, content.model_digest)
        if key not in self.devices:
            device = resources.device_resource(content.model, content.model_digest)
            self.devices[key] = ehr.store(device, {"identifier": f"{MODEL_ID}|{device['id']}"})[0]
        return self.devices[key]

    def _later_or_never(self, claim: Claim, fault: Undelivered) -> None:
        """Write down why it did not work and when it is tried again; the server's words only sealed."""
        words = self.seal.close(fault.words.encode(), WORDS_PURPOSE) if fault.words else None
        told: dict[str, Any] = {"reason": fault.code, "sealed_words": words}
        state, pause_s = self._verdict(claim, fault)
        if state is OutboxState.DEAD:
            self.outbox.finish(claim, state, {"reason": fault.code}, **told)
        else:
            kept = claim.faults - 1 if _excused(fault) else claim.faults
            self.outbox.wait(claim, state, pause_s, faults=kept, **told)
        log = logger().error if state is OutboxState.DEAD else logger().warning
        log(
            "not_written", target=claim.target, kind=claim.kind, reason=fault.code, status=state, attempts=claim.attempts, backoff_s=pause_s
        )

    def _verdict(self, claim: Claim, fault: Undelivered) -> tuple[OutboxState, float]:
        if isinstance(fault, EhrRefused):
            return OutboxState.DEAD, 0.0
        if isinstance(fault, LedgerBehind):
            return OutboxState.DUE, LEDGER_PAUSE_S
        if isinstance(fault, EhrDown):
            if not fault.outage and claim.faults >= self.patience.most_faults:
                return OutboxState.DEAD, 0.0
            pause_s = backoff_s(claim.attempts, self.patience, self.random)
            return OutboxState.DUE, pause_s + (fault.after_s or 0.0)
        return OutboxState.HELD, self.patience.held_s


def _excused(fault: Undelivered) -> bool:
    """An EHR that is away, a log that is young, or a patient who is in doubt, is no fault of the row."""
    return isinstance(fault, NeedsPeople | LedgerBehind) or (isinstance(fault, EhrDown) and fault.outage)


def observation_of(content: Summary | Withheld | AuditSummary, subject: Subject) -> Json:
    """Return the Observation that says it."""
    match content:
        case Summary():
            return resources.summary_observation(content, subject)
        case Withheld():
            return resources.withheld_observation(content, subject)
        case AuditSummary():
            return resources.audit_observation(content, subject)
