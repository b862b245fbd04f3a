"""What is played: rooms, patients, devices and what happens when. YAML in, frozen values out; a wrong field is named with its line."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from anesthesia.pharmacology import Sex
from services.device_simulator.dialect import Dialect
from services.device_simulator.faults import Fault

BUILT_IN = Path(__file__).parent / "scenarios"


class BadScenario(Exception):
    """A scenario that cannot be played; says which line and field."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Person(_Part):
    """A simulated adult."""

    id: str = Field(min_length=1)
    family: str = Field(pattern="^ZZSIM", description="begins with ZZSIM, so that nobody takes it for a person")
    given: str
    birth_date: date
    sex: Sex
    weight_kg: float = Field(ge=30, le=250)
    height_cm: float = Field(ge=120, le=230)


class Monitor(_Part):
    """The patient monitor of a room."""

    application: str = Field(description="MSH-3")
    dialect: Dialect
    interval_s: int = Field(1, ge=1, le=60)
    eeg: bool = True
    index: bool = Field(default=True, description="BIS, SQI, EMG, SR")
    arterial: bool = False


class PumpStack(_Part):
    """The infusion pumps of a room."""

    application: str = "SIM_PUMP"
    interval_s: int = Field(10, ge=1, le=60)


class Replay(_Part):
    """A recorded case instead of a simulated brain."""

    case: int = Field(ge=1)
    from_s: int = Field(0, ge=0)


class Step(_Part):
    """What happens at a second of the room's time; below zero it has happened before the room is seen."""

    at_s: int = Field(ge=-7200)
    depth: float | None = Field(None, ge=15, le=90, description="the pumps steer to this depth")
    propofol_ml: float | None = Field(None, gt=0, le=50, description="bolus")
    stop: bool = False
    move_to: str | None = None
    discharge: bool = False
    fault: Fault | None = None

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        done = (self.depth, self.propofol_ml, self.move_to, self.fault)
        if not (self.stop or self.discharge or any(value is not None for value in done)):
            raise ValueError("a step needs one of depth, propofol_ml, stop, move_to, discharge, fault")
        if self.at_s < 0 and (self.discharge or self.move_to or self.fault):
            raise ValueError("before second 0 only drugs can have been given")
        return self


class RoomPlan(_Part):
    """One room."""

    name: str = Field(min_length=1)
    bed: str = Field(pattern=r"^[^|~\\&]+$", description="PV1-3 as sent")
    patient: Person
    monitor: Monitor
    pumps: PumpStack | None = None
    replay: Replay | None = None
    steps: tuple[Step, ...] = ()

    @property
    def before_s(self) -> int:
        """How long the patient is simulated before the room is seen."""
        return max([0, *(-step.at_s for step in self.steps)])


class Scenario(_Part):
    """Everything one process plays."""

    name: str
    adt_application: str = "SIM_ADT"
    rooms: tuple[RoomPlan, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _many(cls, given: Any) -> Any:  # noqa: ANN401  what YAML holds is not known before it is checked
        """Turn `rooms: {count, template}` into that many rooms, each with a bed and a patient of its own."""
        rooms = given.get("rooms") if isinstance(given, dict) else None
        if not isinstance(rooms, dict):
            return given
        count, template = rooms.get("count"), rooms.get("template")
        if not isinstance(count, int) or not isinstance(template, dict) or not isinstance(template.get("patient"), dict):
            raise ValueError("rooms: either a list, or {count: whole number, template: a room}")  # noqa: TRY004  pydantic reads ValueError
        return {**given, "rooms": [_numbered(template, number) for number in range(1, count + 1)]}

    @model_validator(mode="after")
    def _no_two_alike(self) -> Self:
        for what, names in (
            ("room name", [room.name for room in self.rooms]),
            ("bed", [room.bed for room in self.rooms]),
            ("patient id", [room.patient.id for room in self.rooms]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"two rooms share the {what} {twice[0]!r}")
        return self


def _numbered(template: dict[str, Any], number: int) -> dict[str, Any]:
    patient = {**template["patient"], "id": f"{template['patient'].get('id', 'SIM')}-{number}"}
    return {**template, "name": f"OR {number}", "bed": f"OR^^{number}", "patient": patient}


def scenario_of(text: str, source: str = "scenario") -> Scenario:
    """Return the scenario of a YAML text, or raise BadScenario with line and field."""
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        return Scenario.model_validate(yaml.safe_load(text))
    except yaml.MarkedYAMLError as fault:
        line = fault.problem_mark.line + 1 if fault.problem_mark else 1
        raise BadScenario(f"{source}:{line}: not YAML: {fault.problem}") from fault
    except ValidationError as fault:
        first = fault.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise BadScenario(f"{source}:{_line_of(tree, first['loc'])}: {place}: {first['msg']}") from fault


def read_scenario(name: str) -> Scenario:
    """Return a built-in scenario by its name, or the one in a file."""
    path = BUILT_IN / f"{name}.yaml"
    if not path.is_file():
        path = Path(name)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as fault:
        known = ", ".join(sorted(file.stem for file in BUILT_IN.glob("*.yaml")))
        raise BadScenario(f"{name}: neither a built-in scenario ({known}) nor a file that can be read") from fault
    return scenario_of(text, str(path))


def _line_of(node: yaml.Node | None, place: Sequence[int | str]) -> int:
    """Return the line of a field, or of the nearest part around it that is written down."""
    line = 1
    for part in place:
        child = _child(node, part)
        if child is None:
            break
        line, node = child
    return line


def _child(node: yaml.Node | None, part: int | str) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        item = node.value[part]
        return item.start_mark.line + 1, item
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == part:
                return key.start_mark.line + 1, value
    return None
