"""The supervisor as a process, with scripted children: order, readiness, restarts, drain, and what is left when it is killed."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

import psutil
import pytest

from backbone.supervisor import status
from backbone.supervisor.state import State, holder
from tests.servers import until

pytestmark = pytest.mark.integration
ROOT = pathlib.Path(__file__).parents[2]

# The supervisor under test: its table is JSON, its events are the lines of its output, its observer does what the file `commands` says.
DRIVER = """
import json, sys
from pathlib import Path
from backbone.supervisor.account import server_account
from backbone.supervisor.errors import SupervisorError
from backbone.supervisor.events import line_of
from backbone.supervisor.postgres import postgres
from backbone.supervisor.spec import ProcessSpec
from backbone.supervisor.state import locked, prepare
from backbone.supervisor.supervisor import About, Supervisor
from backbone.supervisor.valkey import valkey

commands = Path(sys.argv[1]).with_name("commands")

class Printer:
    done = 0
    def happened(self, event):
        self.say(**{**json.loads(line_of(event)), "text": event.text})
    def say(self, **what):
        print(json.dumps(what), flush=True)
    def up(self):
        self.say(event="up")
    def tick(self):
        lines = commands.read_text().splitlines() if commands.exists() else []
        for line in lines[self.done:]:
            self.done += 1
            verb, name = line.split()
            try:
                getattr(supervisor, verb)(name)
                self.say(event="obeyed", text=line, phase=supervisor.phase_of(name))
            except SupervisorError as fault:
                self.say(event="refused_command", text=str(fault))
    def holds_back(self, times):
        return times <= asked["patience"]
    def drained(self, up_to): pass

asked = json.loads(sys.argv[2])
account = server_account()
state = prepare(Path(sys.argv[1]), account)
with locked(state):
    table = [make(state, account, lambda _: None)[0] for make in (valkey, postgres)] if asked["servers"] else []
    table += [ProcessSpec(argv=(sys.executable, "-c", row.pop("code")), **row) for row in asked["rows"]]
    supervisor = Supervisor(state, table, Printer(), About())
    sys.exit(supervisor.run())
"""
SAY_READY = """
import os, signal, socket, sys, time
def ready():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.connect(os.environ["NOTIFY_SOCKET"])
        notify.sendall(b"READY=1\\nSTATUS=hello")
"""
STEADY = SAY_READY + "ready()\ntime.sleep(600)\n"
DEAF = SAY_READY + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nready()\ntime.sleep(600)\n"
# Says each stop signal that it gets, and takes its time to end.
SLOW_TO_STOP = (
    SAY_READY
    + """
def stop(*_):
    print("asked to stop", flush=True)
    signal.alarm(1)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGALRM, lambda *_: sys.exit(0))
ready()
while True:
    time.sleep(600)
"""
)


def row(name, code=STEADY, **more):
    return {"name": name, "code": code, **more}


class Run:
    """One supervisor process and what it said so far."""

    def __init__(self, folder, rows, *, servers=False, patience=0):
        self.state = State(folder)
        self.output = folder.parent / "output.jsonl"
        argv = [sys.executable, "-c", DRIVER, str(folder), json.dumps({"rows": rows, "servers": servers, "patience": patience})]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)

    def events(self, what=None):
        lines = [json.loads(line) for line in self.output.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if what in {None, line["event"]}]

    def names(self, what):
        return [line["process"] for line in self.events(what)]

    def wait_up(self):
        until("all are up", lambda: self.events("up"), 60)
        return self

    def command(self, verb, name):
        with self.output.with_name("commands").open("a") as file:
            file.write(f"{verb} {name}\n")

    def state_of(self, name):
        return next(process.state for process in status.read(self.state).processes if process.name == name)

    def children(self):
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number=signal.SIGINT):
        self.process.send_signal(number)
        return self.process.wait(30)


@pytest.fixture
def start():
    outer = pathlib.Path(tempfile.mkdtemp(prefix="sopor-", dir="/tmp"))
    outer.chmod(0o711)
    runs = []

    def started(*rows, **more):
        runs.append(Run(outer / "state", rows, **more))
        return runs[-1]

    yield started
    for run in runs:
        if run.process.poll() is None:
            run.process.kill()
            run.process.wait()
    until("nothing is left", lambda: not of_folder(outer))
    shutil.rmtree(outer)


def of_folder(folder):
    """Return the processes that know of this folder by argument or environment."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), process.environ().get("NOTIFY_SOCKET", "")]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(str(folder) in word for word in words):
            found.append(process)
    return found


def test_processes_start_in_order_and_ctrl_c_drains_them_in_reverse(start):
    run = start(row("first"), row("second"), row("third")).wait_up()

    code = run.end(signal.SIGINT)

    assert code == 0
    assert run.names("ready") == ["first", "second", "third"]
    assert run.names("stopped") == ["third", "second", "first"]
    assert status.read(run.state).state == "stopped"


def test_a_process_waits_for_those_it_needs_and_not_for_others(start):
    slow = SAY_READY + "time.sleep(1)\nready()\ntime.sleep(600)\n"

    run = start(row("slow", slow), row("free", after=[]), row("needs_slow", after=["slow"])).wait_up()

    assert run.names("ready") == ["free", "slow", "needs_slow"]


def test_ctrl_c_of_the_terminal_does_not_reach_the_children(start):
    run = start(row("child")).wait_up()

    (child,) = run.children()

    assert child.pid == os.getsid(child.pid)


def test_a_killed_supervisor_leaves_nothing_behind_within_five_seconds(start):
    run = start(row("child"), servers=True).wait_up()
    left = run.children()
    assert len(left) > 3

    run.process.kill()
    run.process.wait()
    _, alive = psutil.wait_procs(left, timeout=5)

    assert not alive
    assert not of_folder(run.state.folder)


def test_after_a_kill_the_next_start_finds_everything_usable(start):
    first = start(row("child"), servers=True).wait_up()
    first.process.kill()
    first.process.wait()

    second = start(row("child"), servers=True).wait_up()

    assert second.end() == 0


def test_what_outlived_a_killed_supervisor_is_ended_by_the_next(start):
    first = start(row("deaf", DEAF)).wait_up()
    until("it is in the status file", lambda: status.read(first.state).state == "up")
    (child,) = first.children()
    first.process.kill()
    first.process.wait()
    assert child.is_running()

    second = start(row("deaf", DEAF, drain_s=0.5)).wait_up()

    assert not child.is_running()
    assert [child.pid] == [line["pid"] for line in second.events("leftover")]
    second.end()


def test_a_dead_child_comes_back_after_a_wait_that_grows(start):
    fickle = SAY_READY + "ready()\ntime.sleep(0.3)\nsys.exit(7)\n"
    run = start(row("steady"), row("fickle", fickle)).wait_up()

    until("three deaths", lambda: len(run.events("died")) >= 3)

    deaths = run.events("died")[:3]
    assert [(death["exit_code"], death["backoff_s"]) for death in deaths] == [(7, 1.0), (7, 2.0), (7, 4.0)]
    assert len((run.state.folder / "supervisor.jsonl").read_text().splitlines()) >= 6
    assert run.end() == 0


def test_a_killed_server_is_started_again_and_answers(start):
    run = start(servers=True).wait_up()
    before = {child.name(): child for child in psutil.Process(run.process.pid).children()}

    for child in before.values():
        child.kill()
    until("both are back", lambda: sorted(run.names("ready")) == ["postgres", "postgres", "valkey", "valkey"])

    assert {"SIGKILL"} == {death["signal"] for death in run.events("died")}
    assert run.end() == 0


def test_a_child_that_ignores_its_stop_signal_is_killed_when_its_time_is_over(start):
    run = start(row("deaf", DEAF, drain_s=0.5)).wait_up()

    code = run.end()

    assert code == 0
    assert run.names("killed") == ["deaf"]


def test_wrong_settings_end_everything_with_code_3_and_the_childs_words(start):
    wrong = "import sys\nsys.stderr.write('SOPOR_X: must be a number\\n')\nsys.exit(3)\n"
    run = start(row("steady"), row("wrong", wrong))

    code = run.process.wait(30)

    assert code == 3
    assert [line["text"] for line in run.events("refused")] == ["SOPOR_X: must be a number"]
    assert run.names("stopped") == ["steady"]


def test_a_process_that_never_gets_ready_ends_the_start_after_three_tries(start):
    run = start(row("mute", "import time\ntime.sleep(600)\n", ready_within_s=0.3))

    code = run.process.wait(30)

    assert code == 1
    assert len(run.events("late")) == 3


def test_a_second_supervisor_on_one_state_folder_is_refused(start):
    first = start(row("child")).wait_up()
    held_by = holder(first.state)

    second = start(row("child"))

    assert first.process.pid == held_by
    assert second.process.wait(30) == 1
    assert f"in use by process {held_by}" in second.output.read_text()


def test_a_stop_signal_during_the_start_drains_what_is_there(start):
    run = start(row("first"), row("mute", "import time\ntime.sleep(600)\n"))
    until("the second waits to be ready", lambda: run.names("started") == ["first", "mute"])

    code = run.end(signal.SIGTERM)

    assert code == 0
    assert {"first", "mute"} == set(run.names("stopped"))


def test_a_held_process_ends_as_in_the_drain_and_stays_down_until_it_is_released(start):
    run = start(row("steady"), row("other"), row("slow", SLOW_TO_STOP)).wait_up()

    run.command("hold", "slow")
    until("it is held", lambda: run.state_of("slow") == "held")
    run.command("kill", "other")  # its return takes as long as a return of the held one would
    until("the other is back", lambda: run.names("ready").count("other") == 2)
    while_held = (run.names("ready").count("slow"), run.state_of("slow"))
    run.command("release", "slow")
    until("it is back", lambda: run.names("ready").count("slow") == 2)

    assert while_held == (1, "held")
    assert (run.names("held"), run.names("stopped"), run.names("released")) == (["slow"], ["slow"], ["slow"])
    assert run.end() == 0
    assert run.names("killed") == []


def test_while_one_takes_its_time_to_stop_the_others_are_watched(start):
    run = start(row("steady"), row("deaf", DEAF, drain_s=3.0)).wait_up()

    run.command("hold", "deaf")
    run.command("kill", "steady")
    until("the deaf one was killed", lambda: run.names("killed") == ["deaf"])

    told = [(line["event"], line["process"]) for line in run.events() if line["event"] in {"held", "died", "ready", "killed"}][2:]
    assert told == [("held", "deaf"), ("died", "steady"), ("ready", "steady"), ("killed", "deaf")]
    until("it is held", lambda: run.state_of("deaf") == "held")


def test_the_drain_waits_for_a_process_that_is_being_stopped_and_asks_it_once(start):
    run = start(row("steady"), row("slow", SLOW_TO_STOP)).wait_up()
    run.command("hold", "slow")
    until("it is being stopped", lambda: run.events("obeyed"))

    code = run.end()

    assert code == 0
    assert run.events("obeyed")[0]["phase"] == "stopping"
    assert run.names("stopped") == ["slow", "steady"]
    assert (run.state.logs / "slow.log").read_text().splitlines() == ["asked to stop"]


def test_the_drain_copes_with_a_held_process(start):
    run = start(row("first"), row("second"), row("third")).wait_up()
    run.command("hold", "second")
    until("it is held", lambda: run.state_of("second") == "held")

    code = run.end()

    assert code == 0
    assert run.names("stopped") == ["second", "third", "first"]
    assert {process.state for process in status.read(run.state).processes} == {"stopped"}


def test_a_process_released_before_it_has_ended_starts_as_soon_as_it_has(start):
    run = start(row("slow", SLOW_TO_STOP)).wait_up()

    run.command("hold", "slow")
    run.command("release", "slow")
    until("it is back", lambda: run.names("ready") == ["slow", "slow"])

    told = [line["event"] for line in run.events() if "process" in line]
    assert told == ["started", "ready", "held", "released", "stopped", "started", "ready"]


def test_a_process_killed_on_purpose_comes_back_like_any_dead_one(start):
    run = start(row("child")).wait_up()

    run.command("kill", "child")
    until("it is back", lambda: run.names("ready") == ["child", "child"])

    (death,) = run.events("died")
    assert (death["signal"], death["backoff_s"]) == ("SIGKILL", 1.0)


def test_what_does_not_run_cannot_be_killed_and_an_unknown_name_is_told(start):
    run = start(row("child")).wait_up()
    run.command("hold", "child")
    until("it is held", lambda: run.state_of("child") == "held")

    run.command("kill", "child")
    run.command("hold", "nobody")
    until("both are refused", lambda: len(run.events("refused_command")) == 2)

    held, unknown = (line["text"] for line in run.events("refused_command"))
    assert held == "child does not run now (held): nothing was killed"
    assert unknown == "no process 'nobody'; there are child"


def test_a_process_held_while_it_waits_for_its_next_start_is_not_started(start):
    run = start(row("steady"), row("fickle", SAY_READY + "ready()\ntime.sleep(1)\nsys.exit(7)\n")).wait_up()
    until("it waits for its next start", lambda: run.state_of("fickle") == "backing-off")

    run.command("hold", "fickle")
    until("it is held", lambda: run.state_of("fickle") == "held")
    run.command("kill", "steady")  # its return takes as long as the wait that was cut short
    until("the other is back", lambda: run.names("ready").count("steady") == 2)

    assert run.names("ready").count("fickle") == 1
    assert run.state_of("fickle") == "held"


def test_a_stop_that_the_observer_holds_back_leaves_all_under_watch_until_the_next(start):
    run = start(row("child"), patience=1).wait_up()

    run.process.send_signal(signal.SIGINT)
    run.command("kill", "child")
    until("it is back", lambda: run.names("ready") == ["child", "child"])

    assert run.end(signal.SIGINT) == 0
    assert run.names("stopped") == ["child"]
