"""What an EHR's answer means: taken, later, never, or a matter for people. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final

from services.ehr_writer.errors import EhrDown, EhrRefused, NeedsPeople, Undelivered

LONGEST_RETRY_AFTER_S: Final = 3600.0
MOST_WORDS: Final = 2000
# OperationOutcome.issue.code of faults that pass (FHIR R4 issue-type, the children of `transient`)
TRANSIENT: Final = frozenset({"transient", "lock-error", "no-store", "exception", "timeout", "incomplete", "throttled"})
BAD: Final = frozenset({"fatal", "error"})
AWAY: Final = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body as a JSON object; empty when it is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """Return Retry-After (seconds or an HTTP-date) as seconds from now, at most one hour; None when it says nothing readable."""
    if value is None:
        return None
    try:
        seconds = float(int(value)) if value.strip().isdigit() else (parsedate_to_datetime(value) - now).total_seconds()
    except (ValueError, TypeError):
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_S)


def _issues(answer: Answer) -> list[dict[str, Any]]:
    """Return the issues of severity error or fatal."""
    body = answer.json
    issues = body.get("issue") if body.get("resourceType") == "OperationOutcome" else None
    return [i for i in issues or [] if isinstance(i, dict) and i.get("severity") in BAD]


def words_of(answer: Answer) -> str:
    """Return what the server said in words. It may name patients: only ever stored sealed."""
    said = [str(i.get("diagnostics") or i.get("details", {}).get("text") or i.get("code")) for i in _issues(answer)]
    return ("; ".join(said) or answer.body[:MOST_WORDS].decode(errors="replace"))[:MOST_WORDS]


def judge(answer: Answer, now: datetime) -> None:
    """Return when the EHR took the request; else raise EhrDown, EhrRefused or NeedsPeople."""
    codes = {str(issue.get("code")) for issue in _issues(answer)}
    succeeded = HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES
    if succeeded and not codes:
        return
    raise _fault_of(answer, codes, retry_after_s(answer.headers.get("retry-after"), now))


def _fault_of(answer: Answer, codes: set[str], after_s: float | None) -> Undelivered:
    status, words = answer.status, words_of(answer)
    if status in AWAY or (codes & {"throttled"}):
        return EhrDown(f"http_{status}", words=words, after_s=after_s)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or codes & TRANSIENT or status == HTTPStatus.CONFLICT:
        return EhrDown(f"http_{status}", words=words, after_s=after_s, outage=False)
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return NeedsPeople("not_permitted", words=words)
    if status == HTTPStatus.PRECONDITION_FAILED:
        return NeedsPeople("several_in_ehr", words=words)
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return NeedsPeople("redirected", words=words)
    return EhrRefused(f"http_{status}", words=words)
