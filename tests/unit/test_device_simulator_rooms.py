"""Scenarios, patients and rooms: what is sent each second, and what faults change in it."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from services.device_simulator.bedside import Replayed, bedside_of
from services.device_simulator.control import answer_to
from services.device_simulator.faults import Command, Fault
from services.device_simulator.recording import NoRecording, Recording
from services.device_simulator.room import Letterhead, Outgoing, Room
from services.device_simulator.scenario import BadScenario, RoomPlan, Scenario, read_scenario, scenario_of

START = datetime(2026, 11, 21, 3, 45, tzinfo=UTC)
NOWHERE = Path("/nowhere")
ROOM = """
name: one
rooms:
  - name: OR 1
    bed: OR^^1
    patient: {id: S1, family: ZZSIMA, given: A, birth_date: 1970-01-01, sex: F, weight_kg: 60, height_cm: 165}
    monitor: {application: SIM_MINDRAY, dialect: mindray}
    pumps: {}
    steps: [{at_s: -900, depth: 45}]
"""


def demo_plan(name: str) -> RoomPlan:
    return next(plan for plan in read_scenario("demo").rooms if plan.name == name)


def room_of(plan: RoomPlan, data: Path = NOWHERE, seed: int = 1) -> Room:
    bedside, _ = bedside_of(plan, data, date(2026, 11, 21), np.random.default_rng(seed))
    room = Room(plan, bedside, Letterhead("run"))
    room.prepare()
    return room


def lived(room: Room, seconds: int) -> list[list[Outgoing]]:
    start = START + timedelta(seconds=room.elapsed_s)
    return [room.tick(start + timedelta(seconds=n + 1), START) for n in range(seconds)]


def rows(message: Outgoing) -> dict[str, str]:
    """Return value by OBX-3's code."""
    found = (line.split("|") for line in message.payload.decode().split("\r") if line.startswith("OBX"))
    return {fields[3].partition("^")[0]: fields[5] for fields in found}


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    folder = tmp_path / "eeg_bis_24"
    folder.mkdir()
    counts = np.arange(128 * 30, dtype=np.int16) % 100
    bis = np.array([50, 51, -1, 0, 54, 55], dtype=np.int16)
    np.savez(folder / "case07.npz", eeg_counts=counts, uv_per_count=0.5, fs_hz=128, bis=bis, bis_period_s=5)
    return tmp_path


def test_the_demo_has_six_adults_of_whom_one_is_old():
    demo = read_scenario("demo")

    ages = [2026 - plan.patient.birth_date.year for plan in demo.rooms]
    assert [plan.bed for plan in demo.rooms] == [f"OR^^{n}" for n in range(1, 7)]
    assert min(ages) >= 18
    assert max(ages) >= 70


def test_a_template_becomes_as_many_rooms_as_it_says():
    load = read_scenario("load")

    assert len({plan.patient.id for plan in load.rooms}) == len(load.rooms) == 40


@pytest.mark.parametrize(
    ("found", "instead", "told"),
    [
        ("ZZSIMA", "SMITH", "x:6: rooms.0.patient.family"),
        ("dialect: mindray", "dialect: klingon", "x:7: rooms.0.monitor.dialect"),
        ("at_s: -900, depth: 45", "at_s: 5", "x:9: rooms.0.steps.0"),
        ("pumps: {}", "pumps: {", "x:"),
        ("bed: OR^^1", "bett: OR^^1", "x:"),
    ],
)
def test_a_wrong_field_is_named_with_its_line(found, instead, told):
    with pytest.raises(BadScenario) as fault:
        scenario_of(ROOM.replace(found, instead), "x")

    assert str(fault.value).startswith(told)


def test_an_unknown_scenario_names_the_known():
    with pytest.raises(BadScenario, match="demo, load"):
        read_scenario("nothing")


def test_two_rooms_do_not_share_a_bed():
    one = scenario_of(ROOM).model_dump(mode="json")["rooms"][0]

    with pytest.raises(ValueError, match="share the room name"):
        Scenario.model_validate({"name": "two", "rooms": [one, one]})


def test_a_mindray_like_room_sends_one_message_a_second():
    room = room_of(demo_plan("OR 1"))

    monitors = [[m for m in second if m.kind != "pump"] for second in lived(room, 3)]

    assert [len(second) for second in monitors] == [1, 1, 1]
    assert {"120", "147842", "153900", "0", "2327"} <= set(rows(monitors[0][0]))
    assert len(rows(monitors[0][0])["153900"].split("^")) == 128


def test_a_philips_like_room_sends_numerics_and_eeg_apart():
    room = room_of(demo_plan("OR 3"))

    kinds = [message.kind for message in lived(room, 1)[0]]

    assert kinds == ["numerics", "eeg", "pump"]


def test_a_slow_room_sends_at_once_and_then_at_its_interval():
    room = room_of(demo_plan("OR 5"))

    sent = [n for n, second in enumerate(lived(room, 30)) if any(m.kind == "numerics" for m in second)]

    assert sent == [0, 9, 19, 29]


def test_the_intervals_of_a_slow_room_neither_overlap_nor_leave_a_gap():
    room = room_of(demo_plan("OR 5"))

    numerics = [m.payload.decode() for second in lived(room, 30) for m in second if m.kind == "numerics"]

    spans = [next(line for line in text.split("\r") if line.startswith("OBR")).split("|")[7:9] for text in numerics]
    assert all(before[1] == after[0] for before, after in pairwise(spans))


def test_a_room_of_vitals_says_nothing_of_the_brain():
    room = room_of(demo_plan("OR 6"))

    (message,) = lived(room, 1)[0]

    assert "120" not in rows(message)
    assert "153900" not in rows(message)


def test_control_ids_do_not_repeat():
    room = room_of(demo_plan("OR 1"))

    ids = [message.control_id for second in lived(room, 20) for message in second]

    assert len(set(ids)) == len(ids)


def test_the_same_seed_sends_the_same_values():
    first, second = (room_of(demo_plan("OR 2"), seed=5) for _ in range(2))

    assert [m.payload for s in lived(first, 5) for m in s] == [m.payload for s in lived(second, 5) for m in s]


def test_an_induction_puts_the_patient_to_sleep_and_tells_the_bolus():
    room = room_of(demo_plan("OR 2"))

    seconds = lived(room, 240)

    bolus = [rows(m)["3"] for second in seconds for m in second if m.kind == "pump" and "3" in rows(m)]
    assert bolus == ["5"]
    assert room.latest is not None
    assert room.latest.depth < 60


def test_the_device_index_follows_the_state_that_the_eeg_is_made_from():
    room = room_of(demo_plan("OR 2"))
    depths = []
    for _ in range(200):
        lived(room, 1)
        assert room.latest is not None
        depths.append(room.latest.depth)

    assert room.latest.index.bis == pytest.approx(np.mean(depths[-15:]))


def test_an_unplugged_eeg_takes_its_index_along():
    room = room_of(demo_plan("OR 1"))
    room.take(Fault.UNPLUG_EEG)

    unplugged = rows(lived(room, 1)[0][0])
    room.take(Fault.REPLUG_EEG)
    plugged = rows(lived(room, 1)[0][0])

    assert not {"120", "153900"} & set(unplugged)
    assert {"120", "153900"} <= set(plugged)


def test_a_lost_electrode_is_flat_and_says_so():
    room = room_of(demo_plan("OR 1"))
    room.take(Fault.LEAD_OFF)

    message = lived(room, 1)[0][0]

    assert set(rows(message)["153900"].split("^")) == {"0"}
    assert rows(message)["120"] == ""
    assert b"|1^SOPOR_EEG_LEAD_OFF^99SOPOR|1.3.1.1|1|" in message.payload


def test_only_the_named_fault_makes_index_and_eeg_disagree():
    plain, shifted = room_of(demo_plan("OR 1")), room_of(demo_plan("OR 1"))
    shifted.take(Fault.CONFLICT)

    agreed, away = (rows(lived(room, 1)[0][0]) for room in (plain, shifted))

    assert float(away["120"]) - float(agreed["120"]) == 25
    assert away["153900"] == agreed["153900"]


def test_a_double_send_is_one_message_twice():
    room = room_of(demo_plan("OR 1"))
    room.take(Fault.DOUBLE_SEND)

    copies = [second[0].copies for second in lived(room, 2)]

    assert copies == [2, 1]


def test_a_recording_sends_one_channel_and_its_own_index(recorded):
    plan = demo_plan("OR 4").model_copy(update={"replay": demo_plan("OR 4").replay.model_copy(update={"from_s": 0})})
    room = room_of(plan, recorded)

    first = lived(room, 1)[0][0]
    later = lived(room, 13)[-1][0]

    assert first.payload.count(b"MDC_EEG_ELEC_POTL_CRTX") == 1
    assert rows(first)["153900"].startswith("0^1^2^3")
    assert rows(first)["2327"] == "0.5"
    assert rows(first)["120"] == "50"
    assert rows(later)["120"] == ""


def test_a_recording_that_ended_sends_no_eeg(recorded):
    bedside = Replayed(Recording(recorded / "eeg_bis_24" / "case07.npz", 29), np.random.default_rng(1))

    last, after = bedside.second(), bedside.second()

    assert last.eeg is not None
    assert after.eeg is None
    assert after.state.index.bis is None


def test_without_the_recording_a_simulated_patient_stands_in():
    bedside, missing = bedside_of(demo_plan("OR 4"), NOWHERE, date(2026, 11, 21), np.random.default_rng(1))

    assert bedside.patient is not None
    assert missing is not None
    assert "case07" in missing


def test_an_offset_beyond_the_recording_is_refused(recorded):
    with pytest.raises(NoRecording, match="shorter"):
        Recording(recorded / "eeg_bis_24" / "case07.npz", 31)


class Wards:
    """What the control socket commands, noting it."""

    def __init__(self) -> None:
        self.taken: list[Command] = []

    def obey(self, command: Command) -> None:
        self.taken.append(command)

    def status(self) -> dict[str, object]:
        return {"sent": 3}


def test_a_command_is_obeyed_and_answered():
    wards = Wards()

    answer = answer_to(b'{"fault": "bolus", "room": "OR 2", "ml": 4}', wards)

    assert answer == {"ok": True}
    assert wards.taken == [Command(fault=Fault.BOLUS, room="OR 2", ml=4.0)]
    assert answer_to(b'{"fault": "status"}', wards) == {"ok": True, "sent": 3}


@pytest.mark.parametrize("line", [b"nonsense", b"[1]", b'{"fault": "earthquake", "room": "OR 1"}', b'{"fault": "bolus"}'])
def test_a_wrong_command_is_answered_too(line):
    answer = answer_to(line, Wards())

    assert answer["ok"] is False
    assert answer["error"]
