"""What can be made to go wrong on purpose: a closed list, by command or by the scenario. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

CONFLICT_POINTS = 25.0
HIGHEST_INDEX = 98.0


class Fault(StrEnum):
    """One named fault of one room."""

    UNPLUG_EEG = "unplug_eeg"  # the EEG module is out: neither EEG nor index rows
    REPLUG_EEG = "replug_eeg"
    LEAD_OFF = "lead_off"  # the module is in, the electrode is not: flat EEG, lead state 1, no index
    LEAD_ON = "lead_on"
    BOLUS = "bolus"  # propofol, mL
    DOUBLE_SEND = "double_send"  # the next monitor message goes out twice
    CONFLICT = "conflict"  # the device index is shifted away from its EEG
    AGREE = "agree"


class BadCommand(Exception):
    """A line on the control socket that is no command."""


class Command(BaseModel):
    """One line of the control socket. Without `fault` it asks for the status."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fault: Fault
    room: str
    ml: float = Field(5.0, gt=0.0, le=50.0, description="volume of a bolus")


def command_of(fields: dict[str, Any]) -> Command:
    """Return the command, or raise BadCommand with the wrong field's name."""
    try:
        return Command.model_validate(fields)
    except ValidationError as wrong:
        first = wrong.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BadCommand(f"{place}: {first['msg']}; faults: {', '.join(Fault)}") from wrong


@dataclass(slots=True)
class Faults:
    """Which faults a room has now."""

    unplugged: bool = False
    lead_off: bool = False
    index_shift: float = 0.0
    doubles: int = 0

    def take(self, fault: Fault) -> None:
        """Change by one fault. A bolus is the patient's matter and changes nothing here."""
        match fault:
            case Fault.UNPLUG_EEG | Fault.REPLUG_EEG:
                self.unplugged = fault is Fault.UNPLUG_EEG
            case Fault.LEAD_OFF | Fault.LEAD_ON:
                self.lead_off = fault is Fault.LEAD_OFF
            case Fault.CONFLICT | Fault.AGREE:
                self.index_shift = CONFLICT_POINTS if fault is Fault.CONFLICT else 0.0
            case Fault.DOUBLE_SEND:
                self.doubles += 1
            case Fault.BOLUS:
                pass

    def copies(self) -> int:
        """Return how often the next message goes out."""
        if self.doubles == 0:
            return 1
        self.doubles -= 1
        return 2

    def shifted(self, bis: float | None) -> float | None:
        """Return the index as the device shows it under a conflict: away from its EEG, within its range."""
        if bis is None or self.index_shift == 0.0:
            return bis
        return bis + self.index_shift if bis + self.index_shift <= HIGHEST_INDEX else bis - self.index_shift
