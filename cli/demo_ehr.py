"""The demo's EHR as the demo sees it: the simulated patients that it knows, and what stands in it, read back over HTTP."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote, urlsplit

import yaml
from pydantic import BaseModel

from backbone.supervisor.ehr import EhrAccess, EhrPatient, Json
from backbone.supervisor.outbox import AUDIT, SUMMARY, WITHHELD
from backbone.supervisor.settings import CODE_ROOT
from services.device_simulator.hl7 import FACILITY
from services.ehr_writer.codes import WINDOW_ID, Code

SCENARIO: Final = CODE_ROOT / "services" / "device_simulator" / "scenarios" / "demo.yaml"
PAGE: Final = 200
MOST_PAGES: Final = 500
GENDERS: Final = {"F": "female", "M": "male"}
OURS: Final = f"/Observation?identifier={quote(WINDOW_ID + '|', safe='')}&_elements=id,code,dataAbsentReason&_count={PAGE}"


class _Person(BaseModel):
    """What the EHR must know of a simulated patient; the simulator's own reader checks the whole file, and brings scipy for it."""

    id: str
    family: str
    given: str
    birth_date: date
    sex: Literal["F", "M"]


class _Room(BaseModel):
    patient: _Person


class _Scenario(BaseModel):
    rooms: tuple[_Room, ...]


def patients_of(scenario: Path = SCENARIO) -> tuple[EhrPatient, ...]:
    """Return the patients of a scenario as the simulator's ADT names them."""
    people = [room.patient for room in _Scenario.model_validate(yaml.safe_load(scenario.read_text(encoding="utf-8"))).rooms]
    return tuple(
        EhrPatient(
            identifier=person.id,
            family=person.family,
            given=person.given,
            birth_date=person.birth_date.isoformat(),
            gender=GENDERS[person.sex],
            assigner=FACILITY,
        )
        for person in people
    )


def kind_of(observation: Json) -> str:
    """Return which kind of row writes such an Observation. Pure."""
    if any(coding.get("code") == Code.AUDIT for coding in observation["code"]["coding"]):
        return AUDIT
    return WITHHELD if "dataAbsentReason" in observation else SUMMARY


def _next_of(bundle: Json) -> str | None:
    """Return the path of the next page below the endpoint."""
    url = next((link["url"] for link in bundle.get("link", []) if link.get("relation") == "next"), None)
    if url is None:
        return None
    parts = urlsplit(url)
    return f"{parts.path.removeprefix('/fhir')}?{parts.query}"


def observations_in(access: EhrAccess) -> Mapping[str, str] | None:
    """Return id and kind of every Observation of ours that a search finds in the EHR; None when it did not answer."""
    found: dict[str, str] = {}
    path: str | None = OURS
    for _ in range(MOST_PAGES):
        if path is None:
            return found
        bundle = access.ask("GET", path)
        if bundle is None:
            return None
        found |= {entry["resource"]["id"]: kind_of(entry["resource"]) for entry in bundle.get("entry", [])}
        path = _next_of(bundle)
    return None
