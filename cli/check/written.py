"""What the EHR should hold beside what it holds: the same identifiers, and the same values under each. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cli.check.accounts import Accounts
from cli.check.ehr import InEhr, SeenObservation
from cli.check.minutes import DueAudit, DueMinute
from services.ehr_writer.codes import Code

HALF_A_DIGIT = 0.05 + 1e-9  # the EHR is told one decimal


@dataclass(frozen=True, slots=True)
class Difference:
    """One Observation that is missing, not due, or says something else; `what` names it without its patient."""

    what: str
    how: str

    def __str__(self) -> str:
        return f"{self.what}: {self.how}"


def _clock(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%H:%M:%SZ}"


def _named(due: DueMinute | DueAudit) -> str:
    if isinstance(due, DueAudit):
        return f"{due.bed}, summary of the case"
    return f"{due.bed}, minute of {_clock(due.start)}"


def _expected_numbers(due: DueMinute | DueAudit) -> Mapping[str, float]:
    if isinstance(due, DueAudit):
        return {Code.SCORED: due.scored, Code.REFUSED: due.refused, Code.DEVICE_INDEX: due.device_index}
    numbers: dict[str, float] = {Code.SCORED: due.scored, Code.EXPECTED: due.stop - due.first}
    if due.numbers is not None:
        numbers |= {Code.MINIMUM: due.numbers.minimum, Code.MAXIMUM: due.numbers.maximum}
    return numbers


def _wrong(due: DueMinute | DueAudit, seen: SeenObservation, subject: str | None) -> Iterator[str]:
    """Yield in what an Observation differs from what is due."""
    value = due.numbers.value if isinstance(due, DueMinute) and due.numbers is not None else None
    reason = due.reason if isinstance(due, DueMinute) else None
    if seen.audit is not isinstance(due, DueAudit):
        yield "another kind of Observation"
    if (seen.first, seen.stop) != (due.first, due.stop):
        yield f"period {_clock(seen.first)} to {_clock(seen.stop)} instead of {_clock(due.first)} to {_clock(due.stop)}"
    if (seen.value is None) is not (value is None) or abs((seen.value or 0.0) - (value or 0.0)) > HALF_A_DIGIT:
        yield f"value {seen.value} instead of {value}"
    if seen.reason != reason:
        yield f"reason {seen.reason} instead of {reason}"
    for code, number in _expected_numbers(due).items():
        told = seen.numbers.get(code)
        if told is None or abs(told - number) > HALF_A_DIGIT:
            yield f"{code} {told} instead of {number:g}"
    if subject is None or seen.subject != subject:
        yield "another patient, or one whom the EHR does not know"


def differences_of(accounts: Accounts, ehr: InEhr) -> Iterator[Difference]:
    """Yield each Observation that is missing, not due, or not what the records give; of doubled ones each copy is compared."""
    due: dict[str, DueMinute | DueAudit] = {one.identifier: one for one in accounts.due_minutes}
    due |= {one.identifier: one for one in accounts.due_audits}
    found = {one.identifier for one in ehr.observations}
    for identifier, expected in due.items():
        if identifier not in found:
            yield Difference(_named(expected), "not in the EHR")
    for seen in ehr.observations:
        expected_here = due.get(seen.identifier)
        if expected_here is None:
            yield Difference(f"Observation {seen.resource_id}", "in the EHR, but not due by the records")
            continue
        subject = ehr.patients.get(accounts.ward.patients.get(expected_here.bed, ""))
        for how in _wrong(expected_here, seen, subject):
            yield Difference(_named(expected_here), how)
