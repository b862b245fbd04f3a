"""The EHR read back: our Observations as a search finds them, and which Patient is who. HTTP only; nothing of the writer is asked."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote, urlsplit

from backbone.supervisor.ehr import MRN_SYSTEM, EhrAccess, Json
from services.ehr_writer.codes import WINDOW_ID, Code

PAGE: Final = 200
MOST_PAGES: Final = 500
OBSERVATIONS: Final = f"/Observation?identifier={quote(WINDOW_ID + '|', safe='')}&_count={PAGE}"
PATIENTS: Final = f"/Patient?identifier={quote(MRN_SYSTEM + '|', safe='')}&_count={PAGE}"


@dataclass(frozen=True, slots=True)
class SeenObservation:
    """One Observation of ours. Depth 0 to 100; counts in seconds; `first` and `stop` are the Unix seconds of its period.

    `audit` marks the summary of a closed case; elsewhere `value` is a summary's and `reason` a withheld minute's.
    """

    resource_id: str
    identifier: str
    subject: str
    first: int
    stop: int
    audit: bool
    value: float | None
    reason: str | None
    numbers: Mapping[str, float]  # component code -> quantity


@dataclass(frozen=True, slots=True)
class InEhr:
    """The account: every Observation of ours, and the references of the Patients by their identifier."""

    observations: tuple[SeenObservation, ...]
    patients: Mapping[str, str]

    @property
    def summaries(self) -> int:
        """How many have a number."""
        return sum(one.value is not None and not one.audit for one in self.observations)

    @property
    def withheld(self) -> int:
        """How many say why there is no number."""
        return sum(one.value is None and not one.audit for one in self.observations)

    @property
    def audits(self) -> int:
        """How many sum up a closed case."""
        return sum(one.audit for one in self.observations)


def _second(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def _codes(concept: Json) -> list[str]:
    return [str(coding.get("code")) for coding in concept.get("coding", [])]


def observation_of(resource: Json) -> SeenObservation:
    """Return what an Observation says. Pure; KeyError or ValueError for one that is not of ours."""
    parts: dict[str, Json] = {code: part for part in resource.get("component", []) for code in _codes(part["code"])}
    withheld = parts.get(Code.WITHHELD, {}).get("valueCodeableConcept", {})
    return SeenObservation(
        resource_id=resource["id"],
        identifier={one.get("system"): one["value"] for one in resource["identifier"]}[WINDOW_ID],
        subject=resource.get("subject", {}).get("reference", ""),
        first=_second(resource["effectivePeriod"]["start"]),
        stop=_second(resource["effectivePeriod"]["end"]),
        audit=Code.AUDIT in _codes(resource["code"]),
        value=resource.get("valueQuantity", {}).get("value"),
        reason=next(iter(_codes(withheld)), None),
        numbers={code: part["valueQuantity"]["value"] for code, part in parts.items() if "valueQuantity" in part},
    )


def _next_of(bundle: Json) -> str | None:
    """Return the path of the next page below the endpoint."""
    url = next((link["url"] for link in bundle.get("link", []) if link.get("relation") == "next"), None)
    if url is None:
        return None
    parts = urlsplit(url)
    return f"{parts.path.removeprefix('/fhir')}?{parts.query}"


class _NoAnswer(Exception):
    """The EHR did not answer a page."""


def _found(access: EhrAccess, first_page: str) -> Iterator[dict[str, Any]]:
    path: str | None = first_page
    for _ in range(MOST_PAGES):
        if path is None:
            return
        bundle = access.ask("GET", path)
        if bundle is None:
            raise _NoAnswer
        yield from (entry["resource"] for entry in bundle.get("entry", []))
        path = _next_of(bundle)
    raise _NoAnswer


def _known_as(patient: Json) -> str:
    return next((str(one["value"]) for one in patient.get("identifier", []) if one.get("system") == MRN_SYSTEM), "")


def read_ehr(access: EhrAccess) -> InEhr | None:
    """Return the account; None when the EHR did not answer, or not as an EHR does."""
    try:
        observations = tuple(observation_of(resource) for resource in _found(access, OBSERVATIONS))
        patients = {_known_as(patient): f"Patient/{patient['id']}" for patient in _found(access, PATIENTS)}
    except (_NoAnswer, KeyError, ValueError):
        return None
    return InEhr(observations, patients)
