"""One room: a patient or a recording, its devices, and the messages they send at each whole second. No socket, no clock."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from services.device_simulator import hl7
from services.device_simulator.bedside import Bedside, Eeg, Moment
from services.device_simulator.dialect import Dialect, Measured, PumpReport, eeg_rows, numeric_rows, pump_rows
from services.device_simulator.faults import Fault, Faults
from services.device_simulator.patient import PatientState
from services.device_simulator.scenario import RoomPlan, Step

SECOND = timedelta(seconds=1)
CUFF_S = 180


class Letterhead:
    """Gives every message a control id that no other run and no other message has."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._count = 0

    def head(self, application: str, now: datetime, acks: tuple[str, str] = ("", "")) -> hl7.Head:
        """Return the next head."""
        self._count += 1
        return hl7.Head(application, f"{self._run}-{self._count}", now, acks)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message ready to be sent: `kind` is what it is about, `observed` the start of its interval (None: ADT)."""

    application: str
    control_id: str
    room: str
    kind: str
    payload: bytes
    observed: datetime | None = None
    copies: int = 1


@dataclass(frozen=True, slots=True)
class Cuff:
    """The last cuff measurement and when it was."""

    values: tuple[float, float, float]
    at: datetime


class Room:
    """Steps its patient once a second and says what each device sends."""

    def __init__(self, plan: RoomPlan, bedside: Bedside, letters: Letterhead) -> None:
        self.plan = plan
        self.bed = plan.bed
        self.faults = Faults()
        self.discharged = False
        self.elapsed_s = 0
        self.latest: PatientState | None = None
        self._bedside = bedside
        self._letters = letters
        self._cuff: Cuff | None = None
        self._bolus_ml = 0.0
        self._rates: tuple[float, ...] = ()
        person = plan.patient
        self._subject = hl7.Subject(person.id, person.family, person.given, person.birth_date, person.sex.value)

    def prepare(self) -> None:
        """Live through what happened before the room is seen; nothing is sent of it."""
        if self._bedside.patient is None:
            return  # a recording begins where it was opened
        for second in range(-self.plan.before_s, 0):
            for step in self._due(second):
                self._give(step)
            self._bedside.second(seen=False)
        self._bolus_ml = 0.0

    def admission(self, application: str, at: datetime, now: datetime) -> Outgoing:
        """Return the A01 of the patient into the bed."""
        head = self._letters.head(application, now)
        body = (self.plan.patient.weight_kg, self.plan.patient.height_cm)
        return self._outgoing(head, "A01", hl7.admission(head, self._subject, self.bed, at, body))

    def discharge(self, application: str, now: datetime) -> Outgoing:
        """Return the A03 of the patient; the devices are silent from now on."""
        self.discharged = True
        head = self._letters.head(application, now)
        return self._outgoing(head, "A03", hl7.discharge(head, self._subject, self.bed, now))

    def transfer(self, application: str, bed: str, now: datetime) -> Outgoing:
        """Return the A02 into another bed; the devices go along."""
        head = self._letters.head(application, now)
        left, self.bed = self.bed, bed
        return self._outgoing(head, "A02", hl7.transfer(head, self._subject, (left, bed), now))

    def due_moves(self) -> list[Step]:
        """Return the ADT steps of this second."""
        return [step for step in self._due(self.elapsed_s) if step.move_to or step.discharge]

    def take(self, fault: Fault, ml: float = 5.0) -> None:
        """Let a fault, or a bolus, happen now."""
        self.faults.take(fault)
        if fault is Fault.BOLUS:
            self._propofol_bolus(ml)

    def tick(self, end: datetime, now: datetime) -> list[Outgoing]:
        """Let the second that ends at `end` pass and return what the devices send of it."""
        for step in self._due(self.elapsed_s):
            self._give(step)
        moment = self._bedside.second()
        self.latest = moment.state
        self._measure_cuff(moment, end)
        messages = [*self._monitor(moment, end, now), *self._pumps(end, now)]
        self.elapsed_s += 1
        return messages

    def _due(self, second: int) -> Iterator[Step]:
        return (step for step in self.plan.steps if step.at_s == second)

    def _give(self, step: Step) -> None:
        if step.fault is not None:
            self.take(step.fault, step.propofol_ml or 5.0)
        elif step.propofol_ml is not None:
            self._propofol_bolus(step.propofol_ml)
        patient = self._bedside.patient
        if patient is None:
            return
        if step.depth is not None:
            patient.steer_to(step.depth)
        if step.stop:
            patient.stop()

    def _propofol_bolus(self, ml: float) -> None:
        if self._bedside.patient is not None:
            self._bedside.patient.pumps["propofol"].bolus(ml)
            self._bolus_ml += ml

    def _measure_cuff(self, moment: Moment, end: datetime) -> None:
        if self.elapsed_s % CUFF_S == 0:
            seen = moment.state.vitals
            self._cuff = Cuff((seen.systolic, seen.diastolic, seen.mean), end - SECOND)

    def _is_due(self, interval_s: int) -> bool:
        """Tell whether a device of that interval sends now: the first second at once, then each full interval."""
        return self.elapsed_s == 0 or (self.elapsed_s + 1) % interval_s == 0

    def _interval(self, interval_s: int, end: datetime) -> tuple[datetime, datetime]:
        """Return what a message speaks of: since the last one, so that no second is told twice."""
        return end - SECOND * max(1, min(interval_s, self.elapsed_s)), end

    def _monitor(self, moment: Moment, end: datetime, now: datetime) -> list[Outgoing]:
        monitor = self.plan.monitor
        eeg = self._eeg_rows(moment.eeg) if monitor.eeg and not self.faults.unplugged else []
        numerics = numeric_rows(monitor.dialect, self._values(moment.state)) if self._is_due(monitor.interval_s) else []
        if monitor.dialect is Dialect.MINDRAY and monitor.interval_s == 1:
            parts = [("monitor", [*numerics, *eeg], 1)]
        else:
            parts = [("numerics", numerics, monitor.interval_s), ("eeg", eeg, 1)]
        return [self._observation((kind, monitor.application), rows, self._interval(s, end), now) for kind, rows, s in parts if rows]

    def _observation(self, of: tuple[str, str], rows: list[hl7.Row], interval: tuple[datetime, datetime], now: datetime) -> Outgoing:
        kind, application = of
        head = self._letters.head(application, now, Dialect.MINDRAY.acks if kind == "pump" else self.plan.monitor.dialect.acks)
        payload = hl7.observation(head, self._subject, self.bed, interval, rows)
        copies = 1 if kind == "pump" else self.faults.copies()
        return self._outgoing(head, kind, payload, observed=interval[0], copies=copies)

    def _eeg_rows(self, eeg: Eeg | None) -> list[hl7.Row]:
        if eeg is None:
            return []
        counts = np.zeros_like(eeg.counts) if self.faults.lead_off else eeg.counts
        return eeg_rows(counts, eeg.rate_hz, eeg.microvolt_per_count)

    def _values(self, state: PatientState) -> list[Measured]:
        seen = state.vitals
        values = [
            Measured("heart_rate", seen.heart_rate),
            Measured("pulse_rate", seen.heart_rate),
            Measured("spo2", seen.spo2),
            Measured("respiratory_rate", seen.respiratory_rate),
            Measured("etco2", seen.etco2),
            Measured("fio2", seen.fio2),
            Measured("temperature", seen.temperature),
        ]
        if self._cuff is not None:
            names = ("nibp_systolic", "nibp_diastolic", "nibp_mean")
            values += [Measured(name, value, self._cuff.at) for name, value in zip(names, self._cuff.values, strict=True)]
        if self.plan.monitor.arterial:
            values += [
                Measured("art_systolic", seen.systolic + 4.0),
                Measured("art_diastolic", seen.diastolic - 2.0),
                Measured("art_mean", seen.mean),
            ]
        return values + self._index(state)

    def _index(self, state: PatientState) -> list[Measured]:
        """Return the depth monitor's rows; none when the room has no such module or it is out."""
        if not self.plan.monitor.index or self.faults.unplugged:
            return []
        lead = [Measured("eeg_lead_off", 1.0 if self.faults.lead_off else 0.0)] if self.plan.monitor.eeg else []
        shown = state.index
        if self.faults.lead_off:
            return [*(Measured(name, None) for name in ("bis", "sqi", "emg", "suppression_ratio")), *lead]
        return [
            Measured("bis", self.faults.shifted(shown.bis)),
            Measured("sqi", shown.sqi),
            Measured("emg", shown.emg),
            Measured("suppression_ratio", shown.suppression_ratio),
            *lead,
        ]

    def _pumps(self, end: datetime, now: datetime) -> list[Outgoing]:
        """Return the pump message: at its interval, and at once after a bolus or a change of rate."""
        patient, stack = self._bedside.patient, self.plan.pumps
        if patient is None or stack is None:
            return []
        rates = tuple(pump.rate_ml_h for pump in patient.pumps.values())
        changed, self._rates = rates != self._rates, rates
        if not (changed or self._bolus_ml or self._is_due(stack.interval_s)):
            return []
        given, self._bolus_ml = self._bolus_ml, 0.0
        reports = [
            PumpReport(
                drug,
                pump.syringe.mass_per_ml,
                pump.syringe.micrograms,
                pump.rate_ml_h,
                pump.volume_ml,
                Measured("bolus", given, end - SECOND) if given and drug == "propofol" else None,
            )
            for drug, pump in patient.pumps.items()
        ]
        return [self._observation(("pump", stack.application), pump_rows(reports), (end - SECOND, end), now)]

    def _outgoing(self, head: hl7.Head, kind: str, payload: bytes, *, observed: datetime | None = None, copies: int = 1) -> Outgoing:
        return Outgoing(head.application, head.control_id, self.plan.name, kind, payload, observed, copies)
