"""One try at one row: claim it, find the patient, store Device, Observation and Provenance once each, say what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from backbone.ehr_tables import OutboxState
from backbone.telemetry import logger
from backbone.vault import Seal
from services.ehr_writer import resources
from services.ehr_writer.audit import audit_of, leaves_of
from services.ehr_writer.codes import MODEL_ID, WINDOW_ID, Json
from services.ehr_writer.content import AuditSummary, frozen, thawed
from services.ehr_writer.ehr import Ehr
from services.ehr_writer.errors import EhrDown, EhrRefused, NeedsPeople, Undelivered
from services.ehr_writer.identity import agree, person_of
from services.ehr_writer.outbox import Claim, Outbox
from services.ehr_writer.resources import Subject
from services.ehr_writer.summary import Summary, Withheld
from services.ehr_writer.targets import Target, TargetMode

WORDS_PURPOSE: Final = "ehr-words"


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
        content = self._content(claim)
        if target.mode is TargetMode.DRY_RUN:
            self._rehearse(claim, content, target)
            return
        found, version = self._write(claim, content, self.ehrs[target.name])
        self.outbox.finish(claim, OutboxState.DONE, resource_id=found, version_id=version, reason=None)
        logger().info("written", target=target.name, kind=claim.kind, case_id=str(claim.case_id), attempts=claim.attempts)

    def _content(self, claim: Claim) -> Summary | Withheld | AuditSummary:
        """Return what the row says; a closed case is counted at its first try, and that count stays."""
        if claim.content is None:
            with self.outbox.reading() as connection:
                counted = audit_of(connection, claim.case_id, claim.target, int(claim.window_end.timestamp()))
            self.outbox.freeze(claim, frozen(counted))
            return counted
        return thawed(claim.kind, claim.content)

    def _rehearse(self, claim: Claim, content: Summary | Withheld | AuditSummary, target: Target) -> None:
        """Build and check all that would be sent."""
        subject = self._subject(claim, content, None, target)
        observation = observation_of(content, subject)
        if not isinstance(content, AuditSummary) and subject.provenance:
            resources.provenance_of(content, subject, observation["id"])
        self.outbox.finish(claim, OutboxState.DRY_RUN, resource_id=observation["id"], reason=None)

    def _write(self, claim: Claim, content: Summary | Withheld | AuditSummary, ehr: Ehr) -> tuple[str, str | None]:
        ehr.within(self.patience.try_s)
        with self.outbox.reading() as connection:
            person = person_of(connection, claim.case_id, self.seal)
        patient_id = agree(person, ehr.find_patient(person.identifier), ehr.target)
        subject = self._subject(claim, content, patient_id, ehr.target)
        observation = observation_of(content, subject)
        found, version = ehr.store(observation, {"identifier": f"{WINDOW_ID}|{observation['id']}"})
        if subject.provenance and not isinstance(content, AuditSummary):
            ehr.store(resources.provenance_of(content, subject, found), {"target": f"Observation/{found}"})
        return found, version

    def _subject(self, claim: Claim, content: Summary | Withheld | AuditSummary, patient_id: str | None, target: Target) -> Subject:
        with self.outbox.reading() as connection:
            leaves = None if isinstance(content, AuditSummary) else leaves_of(connection, claim.case_id, *_span(content))
        device_id = None
        if isinstance(content, Summary) and target.accepts("Device"):
            device_id = self._device_id(content, target, dry=patient_id is None)
        return Subject(
            case_id=claim.case_id,
            window_start=claim.window_start,
            planned_at=claim.planned_at,
            patient_id=patient_id,
            device_id=device_id,
            simulated=claim.simulated,
            provenance=target.accepts("Provenance"),
            leaves=leaves,
        )

    def _device_id(self, summary: Summary, target: Target, *, dry: bool) -> str:
        """Return the id of the model's Device at the target, storing it there the first time."""
        device = resources.device_resource(summary.model, summary.model_digest)
        if dry:
            return str(device["id"])
        key = (target.name, summary.model, summary.model_digest)
        if key not in self.devices:
            self.devices[key] = self.ehrs[target.name].store(device, {"identifier": f"{MODEL_ID}|{device['id']}"})[0]
        return self.devices[key]

    def _later_or_never(self, claim: Claim, fault: Undelivered) -> None:
        """Write down why it did not work and when it is tried again; the server's words only sealed."""
        words = self.seal.close(fault.words.encode(), WORDS_PURPOSE) if fault.words else None
        told: dict[str, Any] = {"reason": fault.code, "sealed_words": words}
        state, pause_s = self._verdict(claim, fault)
        if state is OutboxState.DEAD:
            self.outbox.finish(claim, state, **told)
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
        if isinstance(fault, EhrDown):
            if not fault.outage and claim.faults >= self.patience.most_faults:
                return OutboxState.DEAD, 0.0
            pause_s = backoff_s(claim.attempts, self.patience, self.random)
            return OutboxState.DUE, pause_s + (fault.after_s or 0.0)
        return OutboxState.HELD, self.patience.held_s


def _excused(fault: Undelivered) -> bool:
    """An EHR that is away, or a patient that is in doubt, is no fault of the row."""
    return isinstance(fault, NeedsPeople) or (isinstance(fault, EhrDown) and fault.outage)


def _span(content: Summary | Withheld) -> tuple[int, int]:
    return content.counted.first, content.counted.stop


def observation_of(content: Summary | Withheld | AuditSummary, subject: Subject) -> Json:
    """Return the Observation that says it."""
    match content:
        case Summary():
            return resources.summary_observation(content, subject)
        case Withheld():
            return resources.withheld_observation(content, subject)
        case AuditSummary():
            return resources.audit_observation(content, subject)
