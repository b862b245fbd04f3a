"""The demo's rooms as its scenario names them: who lies in each, and whose monitors send EEG. Rooms are named as their beds."""

from datetime import date
from pathlib import Path
from typing import Final, Literal

import yaml
from pydantic import BaseModel

from backbone import bundle
from backbone.site import SiteFile
from backbone.supervisor.ehr import EhrPatient
from backbone.supervisor.settings import CODE_ROOT
from cli.check.accounts import Ward
from cli.check.share import WarmUp
from services.device_simulator.hl7 import FACILITY

SCENARIO: Final = CODE_ROOT / "services" / "device_simulator" / "scenarios" / "demo.yaml"
MODELS: Final = CODE_ROOT / "model_server" / "models"
GENDERS: Final = {"F": "female", "M": "male"}


class _Person(BaseModel):
    """What the EHR must know of a simulated patient; the simulator's own reader checks the whole file, and brings scipy for it."""

    id: str
    family: str
    given: str
    birth_date: date
    sex: Literal["F", "M"]


class _Monitor(BaseModel):
    eeg: bool = True


class _Room(BaseModel):
    name: str
    patient: _Person
    monitor: _Monitor


class _Scenario(BaseModel):
    rooms: tuple[_Room, ...]


def _rooms_of(scenario: Path) -> tuple[_Room, ...]:
    return _Scenario.model_validate(yaml.safe_load(scenario.read_text(encoding="utf-8"))).rooms


def patients_of(scenario: Path = SCENARIO) -> tuple[EhrPatient, ...]:
    """Return the patients of a scenario as the simulator's ADT names them."""
    return tuple(
        EhrPatient(
            identifier=person.id,
            family=person.family,
            given=person.given,
            birth_date=person.birth_date.isoformat(),
            gender=GENDERS[person.sex],
            assigner=FACILITY,
        )
        for person in (room.patient for room in _rooms_of(scenario))
    )


def ward_of(site: SiteFile, scenario: Path = SCENARIO) -> Ward:
    """Return what a check knows of the rooms beforehand; BundleError when the site's model is not there."""
    rooms = _rooms_of(scenario)
    coverage_s = bundle.read(MODELS, site.model).manifest.minimum_coverage_s
    latency_s = {source.sending_application: source.latency_s for source in site.source if source.kind != "adt"}
    return Ward(
        patients={room.name: room.patient.id for room in rooms},
        eeg_rooms=frozenset(room.name for room in rooms if room.monitor.eeg),
        warm_up=WarmUp(coverage_s, latency_s),
        streams_keep_s=60.0 * site.retention.stream_minutes,
    )
