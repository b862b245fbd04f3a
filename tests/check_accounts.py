"""Accounts of a small hospital that agree: a room with EEG, and one with the device's own index. Tests spoil one thing."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from anesthesia.prediction import Tier
from backbone.supervisor.records import StoredRecord
from cli.check.accounts import Accounts, Audited, Course, Replay, Ward
from cli.check.ehr import InEhr, SeenObservation
from cli.check.journal import Journal
from cli.check.minutes import DueMinute
from cli.check.sent import sent_of
from cli.check.share import WarmUp
from cli.check.streams import InStreams
from services.ehr_writer.codes import Code

T0 = 1_795_236_000  # a whole UTC minute
OPENED, DISCHARGED = T0 - 10, T0 + 130
WARM = OPENED + 21
EEG, INDEX = UUID(int=1), UUID(int=2)
WARD = Ward({"OR 1": "P1", "OR 5": "P5"}, frozenset({"OR 1"}), WarmUp(20.0, {"MONITOR": 1.0, "SLOW": 10.0}), 3600.0)


def at(second, fraction=0.0):
    return datetime.fromtimestamp(second + fraction, UTC).isoformat(timespec="milliseconds")


def message(number, room="OR 1", kind="monitor", **more):
    application = "MONITOR" if room == "OR 1" else "SLOW"
    told = {"event": "message", "control_id": f"run-{number}", "application": application, "room": room, "kind": kind}
    times = {"observed": at(OPENED), "first_sent": at(OPENED + 1), "deliveries": 1, "ack": "AA", "acked": at(OPENED + 1)}
    return json.dumps({**told, **times, **more})


def stay(event, room="OR 1", discharged=None):
    return json.dumps(
        {"event": event, "room": room, "admitted": at(OPENED), "first_observation": at(OPENED), "discharged": discharged},
    )


def log(*more):
    """Return the lines of a run that ended well, with others before its end."""
    discharged = at(DISCHARGED, 0.4)
    rooms = [stay(event, room) for room in ("OR 1", "OR 5") for event in ("admitted", "first_observation")]
    ends = [stay("case", room, discharged) for room in ("OR 1", "OR 5")]
    return [*rooms, message(1), message(2, "OR 5", "numerics"), *more, *ends, json.dumps({"event": "end"})]


def record(second, case=EEG, tier=Tier.E, value=45.0, reason=None, late_s=0.05):
    complete = datetime.fromtimestamp(second + 1, UTC)
    bed = "OR 1" if case == EEG else "OR 5"
    tier, value = (None, None) if reason else (tier.value, value)
    return StoredRecord(case, bed, second, tier, value, reason, complete, complete + timedelta(seconds=late_s))


def records():
    seconds = range(OPENED, DISCHARGED)
    eeg = [record(s, reason="no_eeg") if s < WARM else record(s, value=40.0 + s % 10) for s in seconds]
    return (*eeg, *(record(s, INDEX, Tier.D) for s in seconds))


def seen(due, patients):
    """Return the Observation that tells what is due."""
    subject = patients[WARD.patients[due.bed]]
    if isinstance(due, DueMinute):
        numbers = {Code.SCORED: due.scored, Code.EXPECTED: due.stop - due.first}
        if due.numbers:
            numbers |= {Code.MINIMUM: due.numbers.minimum, Code.MAXIMUM: due.numbers.maximum}
        value = round(due.numbers.value, 1) if due.numbers else None
        return SeenObservation(due.identifier, due.identifier, subject, due.first, due.stop, False, value, due.reason, numbers)
    numbers = {Code.SCORED: due.scored, Code.REFUSED: due.refused, Code.DEVICE_INDEX: due.device_index}
    return SeenObservation(due.identifier, due.identifier, subject, due.first, due.stop, True, None, None, numbers)


def accounts(**changed):
    """Return accounts that agree, but for what is changed."""
    course = Course((), (), 9.5, 29.5)
    base = Accounts(WARD, sent_of(log(), WARD.eeg_rooms), course, records=changed.pop("records", records()))
    patients = {"P1": "Patient/a", "P5": "Patient/b"}
    told = tuple(seen(due, patients) for due in (*base.due_minutes, *base.due_audits))
    journal = Journal(frozenset({("monitor", "run-1"), ("slow", "run-2")}), 2, entries=4, frames=2)
    agreeing = {
        "journal": journal,
        "streams": InStreams(4, 0, 0),
        "ehr": InEhr(told, patients),
        "audited": Audited(300, 280, 0),
        "replay": Replay(20, 20),
    }
    return replace(base, **{**agreeing, **changed})
