"""The simulator against a scripted receiver on real sockets: order, repetition, faults and the end."""

import asyncio
import json
import os
import signal
import socket
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from backbone.clock import SystemClock
from services.device_simulator.hospital import Hospital
from services.device_simulator.log import SentLog
from services.device_simulator.scenario import Scenario, read_scenario, scenario_of
from services.device_simulator.settings import SimulatorSettings
from tests.fakes.mllp_peer import MllpPeer

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.integration
ROOM = """
name: one
rooms:
  - name: OR 1
    bed: OR^^1
    patient: {id: S1, family: ZZSIMA, given: A, birth_date: 1970-01-01, sex: F, weight_kg: 60, height_cm: 165}
    monitor: {application: SIM_MINDRAY, dialect: mindray}
"""


def settings_for(port: int, folder: Path, **more) -> SimulatorSettings:
    values = {"port": port, "log": folder / "sent.jsonl", "data": folder, "speed": 8.0, "ack_timeout_s": 0.3, "longest_backoff_s": 0.2}
    return SimulatorSettings(**{**values, **more})


def logged(folder: Path, event: str) -> list[dict]:
    return [line for line in map(json.loads, (folder / "sent.jsonl").read_text().splitlines()) if line["event"] == event]


async def played(scenario: Scenario, peer, folder: Path, count: int, *, act=lambda hospital: None, **more) -> Hospital:
    """Play until the peer has received so many messages, then stop."""
    settings = settings_for(peer.port, folder, **more)
    stopping = asyncio.Event()
    with SentLog(settings.log) as log:
        hospital = Hospital(scenario, settings, log, SystemClock(), "run")
        hospital.prepare()
        act(hospital)
        playing = asyncio.create_task(hospital.play(stopping))
        await peer.until(count)
        stopping.set()
        await asyncio.wait_for(playing, 10)
    return hospital


async def test_every_room_is_admitted_before_its_first_reading_and_discharged_last(tmp_path):
    async with MllpPeer() as peer:
        await played(read_scenario("demo"), peer, tmp_path, 40)

    for number in range(1, 7):
        kinds = [m.field("MSH", 9)[:7] for m in peer.received if m.field("PV1", 3) == f"OR^^{number}"]
        assert kinds[0] == "ADT^A01"
        assert kinds[-1] == "ADT^A03"
        assert set(kinds[1:-1]) == {"ORU^R01"}
    assert {m.field("MSH", 11) for m in peer.received} == {"T"}
    assert {m.field("MSH", 3) for m in peer.received} == {
        "SIM_ADT", "SIM_MINDRAY", "SIM_PHILIPS", "SIM_PHILIPS_10S", "SIM_MINDRAY_60S", "SIM_PUMP",
    }  # fmt: skip


async def test_the_log_accounts_for_every_message(tmp_path):
    async with MllpPeer() as peer:
        await played(read_scenario("demo"), peer, tmp_path, 30)

    messages, (end,) = logged(tmp_path, "message"), logged(tmp_path, "end")
    assert {m.field("MSH", 10) for m in peer.received} == {line["control_id"] for line in messages}
    assert end["sent"] == end["acknowledged"] == len(peer.received)
    assert all(line["deliveries"] == 1 and line["ack"] in {"AA", "CA"} for line in messages)
    assert all(stay["expected_seconds"] >= 1 and stay["first_observation"] >= stay["admitted"] for stay in logged(tmp_path, "case"))


async def test_the_seconds_of_a_device_follow_each_other_without_a_gap(tmp_path):
    async with MllpPeer() as peer:
        await played(scenario_of(ROOM), peer, tmp_path, 8)

    intervals = [(m.field("OBR", 7), m.field("OBR", 8)) for m in peer.received if m.field("MSH", 3) == "SIM_MINDRAY"]
    assert len(intervals) >= 6
    assert all(before[1] == after[0] for before, after in pairwise(intervals))


@pytest.mark.parametrize("trouble", ["hang_up", "silence", "wrong", "AE"])
async def test_a_message_without_a_positive_answer_is_sent_again_unchanged(tmp_path, trouble):
    async with MllpPeer(["AA", trouble]) as peer:
        await played(scenario_of(ROOM), peer, tmp_path, 6)

    first, again = peer.received[1], peer.received[2]
    assert first.payload == again.payload
    ids = [m.field("MSH", 10) for m in peer.received]
    assert len(ids) == len(set(ids)) + 1
    assert next(line for line in logged(tmp_path, "message") if line["control_id"] == ids[1])["deliveries"] == 2


async def test_a_refused_message_is_not_repeated(tmp_path):
    async with MllpPeer(["AA", "AR"]) as peer:
        await played(scenario_of(ROOM), peer, tmp_path, 4)

    ids = [m.field("MSH", 10) for m in peer.received]
    assert len(ids) == len(set(ids))
    assert logged(tmp_path, "end")[0]["rejected"] == 1


async def test_a_double_send_arrives_twice_and_counts_once(tmp_path):
    def act(hospital: Hospital) -> None:
        hospital._wards["OR 1"].room.faults.doubles = 1

    async with MllpPeer() as peer:
        await played(scenario_of(ROOM), peer, tmp_path, 4, act=act)

    assert peer.received[1].payload == peer.received[2].payload
    assert logged(tmp_path, "message")[1]["deliveries"] == 2


async def test_a_move_is_told_and_the_devices_go_along(tmp_path):
    scenario = scenario_of(ROOM + "    steps: [{at_s: 2, move_to: OR^^9}, {at_s: 4, discharge: true}]\n")

    async with MllpPeer() as peer:
        await played(scenario, peer, tmp_path, 7)

    told = [(m.field("MSH", 9)[:7], m.field("PV1", 3)) for m in peer.received]
    assert ("ADT^A02", "OR^^9") in told
    assert told[-1] == ("ADT^A03", "OR^^9")
    moved = told.index(("ADT^A02", "OR^^9"))
    assert {bed for kind, bed in told[:moved]} == {"OR^^1"}
    assert {bed for kind, bed in told[moved:]} == {"OR^^9"}


async def test_without_a_receiver_the_end_is_still_in_time(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        settings = settings_for(taken.getsockname()[1], tmp_path, farewell_s=0.5)
        stopping = asyncio.Event()
        with SentLog(settings.log) as log:
            hospital = Hospital(scenario_of(ROOM), settings, log, SystemClock(), "run")
            hospital.prepare()
            playing = asyncio.create_task(hospital.play(stopping))
            await asyncio.sleep(0.3)
            stopping.set()
            await asyncio.wait_for(playing, 3)

    assert logged(tmp_path, "dropped")[0]["kind"] == "A01"
    assert logged(tmp_path, "end")[0]["acknowledged"] == 0


async def test_the_process_says_ready_obeys_and_discharges_on_sigterm(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(tmp_path / "notify"))
        notify.setblocking(False)
        async with MllpPeer() as peer:
            environment = {
                **os.environ,
                "NOTIFY_SOCKET": str(tmp_path / "notify"),
                "SOPOR_SIMULATOR_PORT": str(peer.port),
                "SOPOR_SIMULATOR_LOG": str(tmp_path / "sent.jsonl"),
                "SOPOR_SIMULATOR_CONTROL": str(tmp_path / "control"),
                "OMP_NUM_THREADS": "1",
            }
            process = await asyncio.create_subprocess_exec(sys.executable, "-m", "services.device_simulator", cwd=ROOT, env=environment)
            await peer.until(12, 20)
            reader, writer = await asyncio.open_unix_connection(tmp_path / "control")
            writer.write(b'{"fault": "unplug_eeg", "room": "OR 1"}\n')
            answer = json.loads(await reader.readline())
            writer.close()
            process.send_signal(signal.SIGTERM)
            code = await asyncio.wait_for(process.wait(), 10)

        assert notify.recv(200).startswith(b"READY=1")
    assert answer == {"ok": True}
    assert code == 0
    assert [m.field("MSH", 9)[:7] for m in peer.received][-6:] == ["ADT^A03"] * 6
    assert len(logged(tmp_path, "case")) == 6


async def test_a_wrong_scenario_ends_the_process_with_the_configuration_code(tmp_path):
    (tmp_path / "bad.yaml").write_text("name: bad\nrooms: []\n")
    environment = {**os.environ, "SOPOR_SIMULATOR_SCENARIO": str(tmp_path / "bad.yaml"), "SOPOR_SIMULATOR_LOG": str(tmp_path / "l")}

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.device_simulator", cwd=ROOT, env=environment, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()

    assert process.returncode == 3
    assert b"bad.yaml:2: rooms" in said
