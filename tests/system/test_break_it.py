"""A visitor at a terminal breaks a running demo by its keys, and `sopor sim fault` of another shell by its socket: what is then seen.

The story runs once, without the minute of waiting that a whole verdict takes; each test looks at one thing that was seen.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg
import pytest

from backbone.supervisor import status
from backbone.supervisor.state import State
from cli.check.journal import Journal, read_journal
from cli.faults import KILL, NAMED
from tests.servers import until
from tests.terminal import Terminal

ROOT = Path(__file__).parents[2]
REFUSED_WITHIN_S = 3.0
DUE_WITHIN_S = 75.0  # the rest of a minute, and the records of its last second
WAITING = "SELECT count(*) FROM outbox WHERE state IN ('due', 'leased')"
DONE = "SELECT count(*) FROM outbox WHERE state = 'done'"

pytestmark = pytest.mark.timeout(240)


@dataclass
class Story:
    """What was seen, in the order in which it happened."""

    processes: set[str] = field(default_factory=set)
    refused_after_s: float = 0
    refusal: dict = field(default_factory=dict)
    doubled: list[dict] = field(default_factory=list)
    journal: Journal | None = None
    ehr_while_stopped: str = ""
    written_while_stopped: int = -1
    waited: int = 0
    left_waiting: int = -1
    tampered: str = ""
    audit_before: int = -1
    audit_after: int = -1
    audit_faults: list[dict] = field(default_factory=list)
    web_killed: dict = field(default_factory=dict)
    seconds: list[tuple] = field(default_factory=list)
    modes: list = field(default_factory=list)
    exit_code: int = -1
    said: str = ""
    left: list[str] = field(default_factory=list)


class Visit:
    """A demo at a terminal of its own."""

    def __init__(self, folder: Path) -> None:
        self.state = State(folder / "demo")
        arguments = ["demo", "--no-browser", "--state", str(folder), "--port", "18081"]
        self.terminal = Terminal([sys.executable, "-m", "cli", *arguments], ROOT, {**os.environ, "NO_COLOR": "1"})

    def wait_for(self, words: str, within_s: float = 20.0) -> None:
        until(words, lambda: words in self.terminal.said() or self.terminal.process.poll() is not None, within_s)
        assert words in self.terminal.said(), self.terminal.said()

    def press(self, key: str, answer: str) -> str:
        """Press a key and return the line of its answer."""
        before = self.terminal.said().count(answer)
        self.terminal.type(key)
        until(answer, lambda: self.terminal.said().count(answer) > before)
        return next(line for line in reversed(self.terminal.said().splitlines()) if answer in line)

    def sopor(self, *words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "cli", *words, "--state", str(self.state.folder)]
        return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)

    def room(self, bed: str) -> dict:
        with urllib.request.urlopen("http://127.0.0.1:18081/api/wall", timeout=2) as reply:
            return next((room for room in json.load(reply)["rooms"] if room["bed"] == bed), {})

    def process(self, name: str) -> status.ProcessStatus:
        return next(one for one in status.read(self.state).processes if one.name == name)

    def query(self, text: str) -> list[tuple]:
        host = self.state.folder / "run" / "postgres"
        with psycopg.connect(f"postgresql://postgres@/sopor?host={host}") as connection:
            return connection.execute(text).fetchall()

    def sent(self) -> list[dict]:
        lines = (self.state.folder / "simulator.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == "message"]


def stop_the_ehr(visit: Visit, story: Story) -> None:
    # The panel is there before the EHR is, and whoever never saw the EHR does not start.
    until("the EHR writer is up", lambda: visit.process("ehr_writer").state == "ready", 60)
    visit.press("e", "the EHR is told to stop")
    until("the EHR is held", lambda: visit.process("ehr").state == "held")
    story.ehr_while_stopped = visit.process("ehr").state


def pull_the_plug(visit: Visit, story: Story) -> None:
    visit.press("p", "OR 2: the EEG plug is pulled")
    pulled = time.monotonic()
    until("OR 2 is refused", lambda: visit.room("OR 2").get("kind") == "refusal", 10)
    story.refused_after_s = time.monotonic() - pulled
    story.refusal = visit.room("OR 2")
    visit.press("p", "OR 2: the EEG plug is back")


def send_double(visit: Visit, story: Story) -> None:
    visit.press("d", "OR 1: the next monitor message goes out twice")
    until("it went out twice", lambda: any(one["deliveries"] > 1 for one in visit.sent()))
    story.doubled = [one for one in visit.sent() if one["deliveries"] > 1]
    story.journal = read_journal(visit.state.journal)


def tamper(visit: Visit, story: Story) -> None:
    visit.wait_for("first score from EEG", 60)
    story.audit_before = visit.sopor("audit", "verify").returncode
    story.tampered = visit.press("t", "the audit log was tampered with")
    audit = visit.sopor("audit", "verify", "--json")
    story.audit_after, story.audit_faults = audit.returncode, json.loads(audit.stdout)["first_faults"]


def start_the_ehr(visit: Visit, story: Story) -> None:
    until("a minute waits for the EHR", lambda: visit.query(WAITING) > [(0,)], DUE_WITHIN_S)
    ((story.waited,),), ((story.written_while_stopped,),) = visit.query(WAITING), visit.query(DONE)
    visit.press("e", "the EHR is started")
    until("what waited is written", lambda: visit.query(WAITING) == [(0,)] and visit.query(DONE) >= [(story.waited,)], 45)
    ((story.left_waiting,),) = visit.query(WAITING)


@pytest.fixture(scope="module")
def story():
    folder = Path(tempfile.mkdtemp(prefix="sopor-", dir="/tmp"))
    folder.chmod(0o711)
    seen, visit = Story(), Visit(folder)
    with visit.terminal as terminal:
        visit.wait_for("press: p pull", 90)
        seen.processes = {one.name for one in status.read(visit.state).processes}
        everyone = psutil.Process(terminal.process.pid).children(recursive=True)
        until("the terminal is taken", lambda: not terminal.echoes())
        stop_the_ehr(visit, seen)
        pull_the_plug(visit, seen)
        send_double(visit, seen)
        tamper(visit, seen)
        visit.press("m", "model_server was killed")
        until("it died and is back", lambda: "model_server is back" in terminal.said(), 60)
        seen.web_killed = json.loads(visit.sopor("sim", "fault", "kill_web", "--json").stdout)
        visit.wait_for("web is back", 60)
        start_the_ehr(visit, seen)
        seen.seconds = visit.query("SELECT case_id::text, second FROM records ORDER BY case_id, second")
        seen.modes = [terminal.before]
        terminal.type("\x03")
        visit.wait_for("a second Ctrl-C ends it at once")
        terminal.type("\x03")
        seen.exit_code = terminal.process.wait(60)
        seen.modes.append(terminal.mode())
        seen.said = terminal.said()
        seen.left = [one.name() for one in everyone if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
        yield seen
    shutil.rmtree(folder, ignore_errors=True)


def test_every_process_of_the_demo_can_be_killed_on_purpose(story):
    assert {name.removeprefix(KILL) for name in NAMED if name.startswith(KILL)} == story.processes


def test_a_plug_pulled_by_a_key_is_a_refusal_in_words_within_three_seconds(story):
    assert story.refused_after_s <= REFUSED_WITHIN_S
    assert story.refusal["words"] == "no usable EEG"


def test_a_message_sent_twice_by_a_key_is_acknowledged_and_kept_once(story):
    (doubled,) = story.doubled
    kept = [control_id for _, control_id in story.journal.messages]

    assert (doubled["room"], doubled["deliveries"], doubled["ack"]) == ("OR 1", 2, "AA")
    assert kept.count(doubled["control_id"]) == 1
    assert story.journal.rows == len(kept)


def test_while_the_ehr_is_stopped_minutes_wait_and_each_is_written_once_it_is_back(story):
    assert story.ehr_while_stopped == "held"
    assert (story.written_while_stopped, story.left_waiting) == (0, 0)
    assert story.waited > 0
    assert "ehr is back" in story.said


def test_a_record_tampered_with_by_a_key_is_named_by_the_audit_with_code_7(story):
    (fault,) = story.audit_faults

    assert (story.audit_before, story.audit_after) == (0, 7)
    assert fault["what"] == "record_differs"
    assert f"(leaf {fault['leaf']})" in story.tampered


def test_a_process_killed_by_the_command_comes_back_and_the_demo_tells_of_it(story):
    assert story.web_killed["ok"]
    assert story.web_killed["done"] in story.said
    assert "web is back" in story.said


def test_no_second_is_lost_or_doubled_by_all_that(story):
    by_case: dict[str, list[int]] = {}
    for case, second in story.seconds:
        by_case.setdefault(case, []).append(second)

    assert len(by_case) == 6
    for seconds in by_case.values():
        assert seconds == list(range(seconds[0], seconds[0] + len(seconds)))


def test_a_second_ctrl_c_ends_it_and_gives_the_terminal_back(story):
    before, after = story.modes

    assert story.exit_code == 0, story.said[-2000:]
    assert before == after
    assert story.left == []
