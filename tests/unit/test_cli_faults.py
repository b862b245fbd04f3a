"""Faults on purpose: the closed list, the keys, what is done to whom, and the control socket's protocol."""

import asyncio
import contextlib
import json
import socket
import stat
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from backbone.supervisor.errors import SupervisorError
from backbone.supervisor.state import State
from backbone.supervisor.table import simulator_socket
from backbone.supervisor.watched import Phase
from cli.control import LONGEST_LINE, MOST_TALKS, ControlSocket, LateAnswer, NoAnswer, answer_to, ask, demo_socket
from cli.faults import KINDS, NAMED, BadFault, Faults, NotDone, kind_of
from cli.keys import HELP, KEYS, LINE, key_of
from cli.main import app, run
from cli.panel import Panel
from services.device_simulator.control import control_socket
from services.device_simulator.faults import BadCommand, Fault
from tests.servers import until

pytestmark = pytest.mark.unit
NOW = datetime(2026, 1, 2, 14, 3, 11, tzinfo=UTC)
NO_DATABASE = "postgresql:///none?host=/nonexistent"


class Clock:
    def now(self):
        return NOW

    def monotonic_s(self):
        return 0.0


class Scripted:
    """Processes that do what they are told at once; the real ones are in the integration tests."""

    def __init__(self):
        self.told = []
        self.phase = Phase.READY

    def phase_of(self, name):
        assert name == "ehr"
        return self.phase

    def hold(self, name):
        self.told.append(("hold", name))
        self.phase = Phase.HELD

    def release(self, name):
        self.told.append(("release", name))
        self.phase = Phase.READY

    def kill(self, name):
        if name == "web":
            raise SupervisorError("web does not run now (backing-off): nothing was killed")
        self.told.append(("kill", name))


@pytest.fixture
def state():
    """A state folder with a short path: sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="sopor-", dir="/tmp") as folder:
        made = State(Path(folder))
        made.run.mkdir()
        yield made


@pytest.fixture
def processes():
    return Scripted()


@pytest.fixture
def faults(processes, state):
    return Faults(processes, state, NO_DATABASE, Clock())


# ---- the list ----------------------------------------------------------------------------------------------------------------


def test_every_fault_of_the_simulator_is_a_fault_of_a_room_here():
    assert {kind.name for kind in KINDS if kind.in_room} == set(Fault)
    assert len(NAMED) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_fault_says_what_was_done_where_and_what_to_watch(kind):
    told = kind.told("OR 9" if kind.in_room else None)

    assert "; watch: " in told
    assert ("OR 9" in told) == kind.in_room
    assert "{" not in told


@pytest.mark.parametrize(
    ("name", "room", "words"),
    [
        ("unplug", "OR 1", "there are unplug_eeg, "),
        ("unplug_eeg", None, "in a room: say which"),
        ("kill_web", "OR 1", "the whole demo"),
        ("kill_", None, "no fault 'kill_'"),
    ],
)
def test_a_wrong_name_or_room_is_told_in_words(faults, name, room, words):
    with pytest.raises(BadFault, match=words):
        faults.do(name, room)

    assert faults.done == []


# ---- the keys ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.char)
def test_every_key_is_one_character_of_its_own_and_does_faults_that_exist(key):
    assert len(key.char) == 1
    assert key_of(key.char) is key
    assert f"{key.char} {key.text}" in LINE
    for name, room in key.turns:
        kind_of(name, room)


def test_the_help_key_is_no_fault():
    assert key_of(HELP) is None
    assert HELP in LINE


class Typed:
    """A keyboard on which this was typed."""

    def __init__(self, text):
        self._text = text

    def pressed(self):
        text, self._text = self._text, ""
        return text

    def close(self):
        pass


@contextlib.contextmanager
def panel(faults, state, typed):
    with Panel(faults, demo_socket(state), Typed(typed)) as made:
        made.open()
        made.turn()
        yield made


def test_a_key_pressed_again_undoes_what_it_did(faults, state, processes):
    with panel(faults, state, "eee"):
        assert processes.told == [("hold", "ehr"), ("release", "ehr"), ("hold", "ehr")]


def test_a_key_whose_fault_another_shell_made_first_says_so_and_then_undoes_it(faults, state, processes, capsys):
    faults.do("stop_ehr")

    with panel(faults, state, "ee"):
        assert processes.told == [("hold", "ehr"), ("release", "ehr")]
    assert "e: the EHR is stopped already" in capsys.readouterr().err


def test_a_key_that_could_do_nothing_does_the_same_when_it_is_pressed_again(faults, state, capsys):
    with panel(faults, state, "pp"):
        pass

    assert capsys.readouterr().err.count("p: simulator.sock: nobody answers there") == 2
    assert faults.done == []


def test_unknown_keys_do_nothing_and_the_help_key_shows_the_line(faults, state, processes, capsys):
    with panel(faults, state, "Q\n" + HELP):
        pass

    assert processes.told == []
    assert capsys.readouterr().err.replace("\n", "").count(LINE) == 2


# ---- what is done ------------------------------------------------------------------------------------------------------------


def test_what_was_done_is_kept_with_its_instant(faults, processes):
    told = faults.do("kill_model_server")

    assert processes.told == [("kill", "model_server")]
    assert told.startswith("model_server was killed; watch: ")
    assert [str(one) for one in faults.done] == ["14:03:11Z model_server was killed"]


def test_the_ehr_is_stopped_once_and_started_once(faults, processes):
    for name in ("stop_ehr", "start_ehr"):
        faults.do(name)
        with pytest.raises(NotDone):
            faults.do(name)

    assert processes.told == [("hold", "ehr"), ("release", "ehr")]
    assert [one.name for one in faults.done] == ["stop_ehr", "start_ehr"]


def test_what_cannot_be_done_is_not_among_what_was_done(faults):
    with pytest.raises(SupervisorError, match="nothing was killed"):
        faults.do("kill_web")
    with pytest.raises(SupervisorError, match="nothing was changed"):
        faults.do("tamper_audit")
    with pytest.raises(NoAnswer):
        faults.do("bolus", "OR 3")

    assert faults.done == []


class Rooms:
    """Behind the simulator's real control socket."""

    def __init__(self):
        self.commands = []

    def obey(self, command):
        if command.room != "OR 1":
            raise BadCommand(f"room: no {command.room!r}")
        self.commands.append((command.fault, command.room))

    def status(self):
        return {}


async def test_a_fault_of_a_room_is_told_to_the_simulator(faults, state):
    rooms = Rooms()
    async with control_socket(simulator_socket(state), rooms):
        await asyncio.to_thread(faults.do, "double_send", "OR 1")
        with pytest.raises(NotDone, match="no 'OR 7'"):
            await asyncio.to_thread(faults.do, "double_send", "OR 7")

    assert rooms.commands == [(Fault.DOUBLE_SEND, "OR 1")]
    assert [(one.name, one.room) for one in faults.done] == [("double_send", "OR 1")]


def test_a_simulator_that_answers_late_holds_nobody_up_and_was_told(faults, state):
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(simulator_socket(state)))
        silent.listen()
        began_s = time.monotonic()

        faults.do("bolus", "OR 3")

        assert time.monotonic() - began_s < 1.0
        peer, _ = silent.accept()
        with peer:
            assert json.loads(peer.recv(1000)) == {"fault": "bolus", "room": "OR 3"}
    assert [one.name for one in faults.done] == ["bolus"]


# ---- the control socket ------------------------------------------------------------------------------------------------------


def refuse(name, room):
    raise BadFault(f"no fault {name!r} in {room}")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", "no JSON"),
        (b"[1]", "a JSON object"),
        (b'{"fault": "bolus", "ml": 5}', "a JSON object with `fault`"),
        (b'{"room": "OR 1"}', "texts"),
        (b'{"fault": 1}', "texts"),
        (b'{"fault": "bolus", "room": 1}', "texts"),
        (b'{"fault": "x", "room": "OR 1"}', "no fault 'x' in OR 1"),
    ],
)
def test_a_wrong_line_is_answered_in_words(line, words):
    answer = answer_to(line, refuse)

    assert not answer["ok"]
    assert words in answer["error"]


@pytest.fixture
def served(state):
    """A control socket whose turns come, as in the supervisor's loop; it says what it was asked."""
    control, over = ControlSocket(demo_socket(state), lambda name, room: f"{name} in {room}"), threading.Event()

    def loop():
        while not over.wait(0.005):
            control.turn()

    thread = threading.Thread(target=loop)
    thread.start()
    yield demo_socket(state)
    over.set()
    thread.join()
    control.close()
    assert not demo_socket(state).exists()


def test_a_command_is_done_and_answered(served):
    assert ask(served, {"fault": "stop_ehr"}, 5.0) == {"ok": True, "done": "stop_ehr in None"}
    assert stat.S_IMODE(served.stat().st_mode) == 0o600


def test_two_commands_of_one_talk_are_answered_in_order(served):
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(5.0)
        peer.connect(str(served))
        peer.sendall(b'{"fault": "a"}\n{"fault": "b", "room": "OR 1"}\n')
        with peer.makefile("rb") as answers:
            told = [json.loads(answers.readline())["done"] for _ in range(2)]

    assert told == ["a in None", "b in OR 1"]


def test_a_line_without_end_is_hung_up_on(served):
    with socket.socket(socket.AF_UNIX) as endless:
        endless.settimeout(5.0)
        endless.connect(str(served))
        endless.sendall(b"x" * (LONGEST_LINE + 10_000))
        with contextlib.suppress(ConnectionResetError):
            assert endless.recv(1) == b""

    assert ask(served, {"fault": "a"}, 5.0)["ok"]


def test_talks_are_limited_and_one_that_ends_makes_room_for_another(served):
    def is_served():
        with contextlib.suppress(NoAnswer):
            return ask(served, {"fault": "a"}, 5.0)["ok"]
        return False

    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(MOST_TALKS + 1)]
        for one in silent:
            one.settimeout(5.0)
            one.connect(str(served))
        assert silent[-1].recv(1) == b""

        silent[0].close()

        until("another is served", is_served, 5)


def test_a_peer_that_left_before_its_answer_harms_nobody(served):
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(served))
        peer.sendall(b'{"fault": "a"}\n')

    assert ask(served, {"fault": "b"}, 5.0)["done"] == "b in None"


def test_who_asks_is_told_whether_its_line_may_have_been_heard(state):
    with pytest.raises(NoAnswer) as nobody:
        ask(demo_socket(state), {"fault": "a"}, 0.2)
    control = ControlSocket(demo_socket(state), lambda *_: "")  # nobody takes its turn
    with pytest.raises(LateAnswer):
        ask(demo_socket(state), {"fault": "a"}, 0.2)
    control.close()

    assert not isinstance(nobody.value, LateAnswer)


# ---- the command -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def sopor(capsys, state):
    def ended(*arguments):
        with pytest.raises(SystemExit) as end:
            run(["sim", "fault", *arguments, "--state", str(state.folder)])
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return ended


def test_the_command_does_a_fault_of_the_whole_demo(served, sopor):
    code, data, talk = sopor("tamper_audit", "--json")

    assert code == 0
    assert json.loads(data) == {"ok": True, "fault": "tamper_audit", "room": None, "done": "tamper_audit in None"}
    assert talk == "tamper_audit in None\n"


def test_the_demo_itself_is_asked_for_a_fault_of_a_room_and_so_knows_of_it(served, sopor):
    assert sopor("bolus", "--room", "OR 3")[2] == "bolus in OR 3\n"


@pytest.mark.parametrize("arguments", [("nonsense",), ("bolus",), ("kill_web", "--room", "OR 1")])
def test_a_wrong_fault_is_a_usage_error_that_asks_nobody(sopor, arguments):
    assert sopor(*arguments)[0] == 2


def test_without_a_demo_there_is_nobody_to_take_faults(sopor):
    for arguments in (("stop_ehr",), ("bolus", "--room", "OR 3")):
        code, data, talk = sopor(*arguments)
        assert (code, data) == (4, "")
        assert "only a running `sopor demo` takes faults" in talk


def test_the_list_names_every_fault():
    as_table = CliRunner().invoke(app, ["sim", "list"])
    as_data = CliRunner().invoke(app, ["sim", "list", "--json"])

    rows = [json.loads(line) for line in as_data.stdout.splitlines()]
    assert [row["name"] for row in rows] == list(NAMED)
    assert all(row["does"] and row["watch"] and row["where"] in {"room", "demo"} for row in rows)
    assert all(name in as_table.stdout for name in NAMED)
