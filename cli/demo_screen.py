"""What a person sees of a demo: the steps, the page's address, the first record and score, a line each ten seconds, the verdict."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from backbone.clock import SystemClock
from backbone.supervisor.events import Event
from backbone.supervisor.outbox import count_written, read_planned
from backbone.supervisor.records import Recorded, count_records
from backbone.supervisor.table import EHR_ROWS
from cli.screen import GOOD, Screen
from cli.talk import say
from cli.verdict import Verdict, Written, sent_of

SOPOR: Final = ".venv/bin/sopor"

FIRST_POLL_S: Final = 0.5
LINE_EVERY_S: Final = 10.0
# After the discharges the last seconds of waveform feeds become due within 2.5 s; the recording of them takes a moment more.
SETTLE_AT_LEAST_S: Final = 4.0
SETTLE_WITHIN_S: Final = 10.0
SETTLE_POLL_S: Final = 0.25
WRITE_WITHIN_S: Final = 20.0
WRITE_POLL_S: Final = 0.5


class DemoScreen(Screen):
    """The observer of `sopor demo`."""

    def __init__(self, names: list[str], database_url: str, sent_log: Path, started_s: float) -> None:
        super().__init__(names, as_json=False)
        self.page = self.ehr_page = ""
        self.open_page: Callable[[str], None] | None = None
        self.stop: Callable[[], None] = lambda: None
        self.stop_after_s: float | None = None
        self.verdict: Verdict | None = None
        self.latency_of: Callable[[str], float] = lambda _application: 0.0
        self.observations: Callable[[], Mapping[str, str] | None] | None = None  # of the EHR, read back; None: there is no EHR
        self._database_url, self._sent_log, self._started_s = database_url, sent_log, started_s
        self._poll_due_s = self._line_due_s = 0.0
        self._first_record = self._first_score = self._first_written = False
        self._needed = set(names) - set(EHR_ROWS)
        self._page_told = self._came_up = False

    @property
    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started_s

    def happened(self, event: Event) -> None:
        """Print the event; once all that the page needs is ready, say where it is. The way to the EHR may still be coming up."""
        super().happened(event)
        if not self._page_told and self._needed <= self._ready:
            self._tell_page()

    def _tell_page(self) -> None:
        self._page_told = True
        say(f"up after {self._elapsed_s:.1f} s: {self.page}", f"bold {GOOD}")
        if self.ehr_page:
            say(f"  the demo's EHR (sekmet-fhir, simulated patients): {self.ehr_page}")
        say(f'  try, in another shell: {SOPOR} sim fault unplug_eeg --room "OR 2" | {SOPOR} status | {SOPOR} audit verify')
        say("  Ctrl-C ends the demo, and says whether all that was sent was recorded")
        if self.open_page is not None:
            self.open_page(self.page)

    def up(self) -> None:
        """From now on what was recorded is told."""
        self._came_up = True
        self._line_due_s = time.monotonic() + LINE_EVERY_S

    def tick(self) -> None:
        """Look for what was recorded, now and then."""
        if self.stop_after_s is not None and self._elapsed_s >= self.stop_after_s:
            self.stop()
        if time.monotonic() < self._poll_due_s:
            return
        recorded = count_records(self._database_url)
        written = count_written(self._database_url) or 0
        waiting = not (self._first_record and self._first_score)
        self._poll_due_s = time.monotonic() + (FIRST_POLL_S if waiting else LINE_EVERY_S / 4)
        if recorded is not None:
            self._say_firsts(recorded, written)
            self._say_line(recorded, written)

    def _say_firsts(self, recorded: Recorded, written: int) -> None:
        if recorded.records and not self._first_record:
            self._first_record = True
            say(f"first record after {self._elapsed_s:.1f} s", GOOD)
        if recorded.tier_e and not self._first_score:
            self._first_score = True
            say(f"first score from EEG after {self._elapsed_s:.1f} s", GOOD)
        if written and not self._first_written:
            self._first_written = True
            say(f"first Observation in the EHR after {self._elapsed_s:.1f} s", GOOD)

    def _say_line(self, recorded: Recorded, written: int) -> None:
        if time.monotonic() < self._line_due_s:
            return
        self._line_due_s = time.monotonic() + LINE_EVERY_S
        counts = f"E {recorded.tier_e}  D {recorded.tier_d}  refused {recorded.refusals}  EHR {written}"
        say(f"  {self._elapsed_s:5.0f} s  {recorded.cases} rooms  {recorded.records} seconds recorded: {counts}")

    def drained(self, up_to: str) -> None:
        """Once the devices are silent and all rooms discharged, wait until the last seconds are recorded and written, and count."""
        if up_to != "device_simulator" or not self._came_up:
            return
        say("  devices stopped; waiting for the last seconds to be recorded")
        began_s = time.monotonic()
        self.verdict = self._account()
        while not self._settled(self.verdict, time.monotonic() - began_s):
            time.sleep(SETTLE_POLL_S)
            self.verdict = self._account()
        if self.observations is not None:
            self.verdict = replace(self.verdict, written=self._written(self.observations))

    def _written(self, observations: Callable[[], Mapping[str, str] | None]) -> Written:
        """Give the writer its time, then read the EHR back, while both still run."""
        say(f"  giving the EHR writer up to {WRITE_WITHIN_S:g} s to write what is due, then reading the EHR back")
        ends_s = time.monotonic() + WRITE_WITHIN_S
        while True:
            planned = read_planned(self._database_url)
            late = time.monotonic() >= ends_s
            if late or (planned is not None and planned.settled):
                written = Written(planned, observations())
                if late or written.agrees:
                    return written
            time.sleep(WRITE_POLL_S)

    @staticmethod
    def _settled(verdict: Verdict, waited_s: float) -> bool:
        """Tell whether waiting longer changes nothing: all is recorded, or only slow feeds' seconds are open, or it takes too long."""
        if verdict.recorded is not None and verdict.recorded.records == verdict.sent.expected_s:
            return True
        return waited_s >= (SETTLE_AT_LEAST_S if verdict.agrees else SETTLE_WITHIN_S)

    def _account(self) -> Verdict:
        try:
            lines = self._sent_log.read_text(encoding="utf-8").splitlines()
        except OSError:
            lines = []
        recorded = count_records(self._database_url)
        return Verdict(sent_of(lines, self.latency_of, SystemClock().now().timestamp()), recorded)
