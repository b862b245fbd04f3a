"""What a person sees of a demo: the steps, the page's address, the first record and score, a line each ten seconds, the verdict."""

import time
from collections.abc import Callable
from typing import Final

from backbone.clock import SystemClock
from backbone.supervisor.events import Event, What
from backbone.supervisor.outbox import count_written
from backbone.supervisor.records import Recorded, count_records
from backbone.supervisor.supervisor import Supervisor
from backbone.supervisor.table import EHR_ROWS
from cli.check.accounts import Course
from cli.check.reading import Sources
from cli.check.sent import BLINDING
from cli.check.share import MadeFault
from cli.check.verdict import Verdict
from cli.closing import Closing
from cli.fault_plan import Schedule
from cli.faults import START_EHR
from cli.panel import Panel
from cli.screen import GOOD, Screen
from cli.talk import say

FIRST_POLL_S: Final = 0.5
LINE_EVERY_S: Final = 10.0
NO_MESSAGE_S: Final = 120.0  # after all are up: then there is something wrong, and no use in waiting
HEALING: Final = frozenset({START_EHR, *BLINDING.values()})


class DemoScreen(Screen):
    """The observer of `sopor demo`. Set `supervisor` and `panel` before it runs."""

    supervisor: Supervisor
    panel: Panel

    def __init__(self, names: list[str], sources: Sources, started_s: float) -> None:
        super().__init__(names, as_json=False)
        self.sources = sources
        self.page = self.ehr_page = ""
        self.open_page: Callable[[str], None] | None = None
        self.stop_after_s: float | None = None  # after the first message
        self.schedule: Schedule | None = None  # of a check; None: faults are the visitor's
        self.verdict: Verdict | None = None
        self._closing: Closing | None = None
        self._closing_asked = 0
        self._started_s = started_s
        self._poll_due_s = self._line_due_s = self._up_s = 0.0
        self._first_record_s: float | None = None
        self._first_score_s: float | None = None
        self._first_written = self._page_told = False
        self._first_message_s: float | None = None  # on the monotonic clock
        self._deaths: list[MadeFault] = []
        self._needed = set(names) - set(EHR_ROWS)

    @property
    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started_s

    # ---- what the supervisor tells ---------------------------------------------------------------------------------------

    def happened(self, event: Event) -> None:
        """Print the event; once all that the page needs is ready, say where it is. The way to the EHR may still be coming up."""
        super().happened(event)
        if event.what is What.DIED:
            self._deaths.append(MadeFault(event.at.timestamp()))
        if not self._page_told and self._needed <= self._ready:
            self._tell_page()

    def _tell_page(self) -> None:
        self._page_told = True
        say(f"up after {self._elapsed_s:.1f} s: {self.page}", f"bold {GOOD}")
        if self.ehr_page:
            say(f"  the demo's EHR (sekmet-fhir, simulated patients): {self.ehr_page}")
        say("  Ctrl-C ends the demo, and says whether all that was sent was kept, recorded, written and can be proven")
        if self.open_page is not None:
            self.open_page(self.page)

    def up(self) -> None:
        """From now on what was recorded is told, and faults may be made."""
        self._up_s = time.monotonic()
        self._line_due_s = self._up_s + LINE_EVERY_S
        self.panel.open()

    def tick(self) -> None:
        """Do what is due: faults and progress while devices send, then the closing."""
        if self._closing is not None:
            self._close(self._closing)
            return
        self.panel.turn()
        self._run_schedule()
        if time.monotonic() >= self._poll_due_s:
            self._look()
        if self._is_over():
            self._begin_closing(asked=0)

    def holds_back(self, asked: int) -> bool:
        """Tell whether a stop that was asked for so often must wait for the verdict; a further one ends the waiting."""
        if self.verdict is None and self._closing is None:
            say("  ending: a second Ctrl-C ends it at once, unchecked")
            self._begin_closing(asked)
        return self.verdict is None and asked <= self._closing_asked

    # ---- faults ----------------------------------------------------------------------------------------------------------

    def _run_schedule(self) -> None:
        if self.schedule is None or self._first_message_s is None:
            return
        told = self.schedule.turn(time.monotonic() - self._first_message_s)
        if told is not None:
            say(f"  {told}", "bold magenta")

    def _course(self) -> Course:
        """Return what this demo saw. In a check only its own faults excuse anything; else whoever kills a process is the visitor."""
        made = [MadeFault(done.at.timestamp(), done.room) for done in self.panel.faults.done if done.name not in HEALING]
        if self.schedule is None:
            return Course((*made, *self._deaths), (), self._first_record_s, self._first_score_s, visited=True)
        return Course(tuple(made), tuple(self.schedule.not_made), self._first_record_s, self._first_score_s)

    # ---- progress --------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Look for what was sent and recorded, now and then."""
        waiting = self._first_record_s is None or self._first_score_s is None
        self._poll_due_s = time.monotonic() + (FIRST_POLL_S if waiting else LINE_EVERY_S / 4)
        if self._first_message_s is None:
            first_s = self.sources.first_sent_s()
            if first_s is not None:
                self._first_message_s = time.monotonic() - (SystemClock().now().timestamp() - first_s)
        recorded = count_records(self.sources.database_url)
        if recorded is not None:
            written = count_written(self.sources.database_url) or 0
            self._say_firsts(recorded, written)
            self._say_line(recorded, written)

    def _say_firsts(self, recorded: Recorded, written: int) -> None:
        if recorded.records and self._first_record_s is None:
            self._first_record_s = round(self._elapsed_s, 1)
            say(f"first record after {self._first_record_s:.1f} s", GOOD)
        if recorded.tier_e and self._first_score_s is None:
            self._first_score_s = round(self._elapsed_s, 1)
            say(f"first score from EEG after {self._first_score_s:.1f} s", GOOD)
        if written and not self._first_written:
            self._first_written = True
            say(f"first Observation in the EHR after {self._elapsed_s:.1f} s", GOOD)

    def _say_line(self, recorded: Recorded, written: int) -> None:
        if time.monotonic() < self._line_due_s:
            return
        self._line_due_s = time.monotonic() + LINE_EVERY_S
        counts = f"E {recorded.tier_e}  D {recorded.tier_d}  refused {recorded.refusals}  EHR {written}"
        say(f"  {self._elapsed_s:5.0f} s  {recorded.cases} rooms  {recorded.records} seconds recorded: {counts}")

    # ---- the end ---------------------------------------------------------------------------------------------------------

    def _is_over(self) -> bool:
        if self.stop_after_s is None:
            return False
        if self._first_message_s is None:
            return time.monotonic() >= self._up_s + NO_MESSAGE_S
        return time.monotonic() >= self._first_message_s + self.stop_after_s

    def _begin_closing(self, asked: int) -> None:
        if self.schedule is not None:
            self.schedule.give_up()
        self._closing_asked = asked
        self._closing = Closing(self.supervisor, tuple(self._names), self.sources, self._course)

    def _close(self, closing: Closing) -> None:
        self.verdict = closing.step()
        if self.verdict is not None:
            self.supervisor.ask_to_stop()
