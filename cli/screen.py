"""What a person sees while processes run: one line for each step, death and return."""

from collections.abc import Callable, Mapping
from typing import Final

from backbone.supervisor.events import Event, What, line_of
from cli.talk import give_text, say

Line = tuple[str, str | None]  # what to print, and its style
BAD = "bold red"
GOOD = "green"
FAINT = "dim"


def _ready(event: Event, place: str) -> Line:
    took = f"{event.elapsed_s or 0.0:.1f} s"
    if event.restarts:
        return f"  {event.process} is back after {took} (restart {event.restarts})", GOOD
    return f"{place} {event.process:<16} ready {took:>6}  {event.text}".rstrip(), None


def _lost(event: Event, _: str) -> Line:
    how = str(event.exit) if event.what is What.DIED else f"was {event.text.partition(chr(10))[0]}, so it was ended"
    return f"! {event.process} {how}; starting it again in {event.backoff_s or 0.0:g} s", BAD


_LINES: Final[Mapping[What, Callable[[Event, str], Line]]] = {
    What.READY: _ready,
    What.DIED: _lost,
    What.LATE: _lost,
    What.REFUSED: lambda event, _: (f"! {event.process}: wrong settings, so nothing runs:\n{event.text}", BAD),
    What.KILLED: lambda event, _: (f"! {event.process} was killed: {event.text}", BAD),
    What.LEFTOVER: lambda event, _: (f"  {event.process} (process {event.pid}) {event.text}", None),
    What.STOPPED: lambda event, _: (f"  {event.process} stopped", FAINT),
    What.HELD: lambda event, _: (f"  {event.process} is stopped on purpose, until it is released", FAINT),
    What.RELEASED: lambda event, _: (f"  {event.process} is released: it starts again", FAINT),
}


def text_of(event: Event, place: str) -> Line | None:
    """Return the line for an event and its style, or None when a person need not see it. `place` is `[3/8]`. Pure."""
    line = _LINES.get(event.what)
    return line(event, place) if line else None


class Screen:
    """The observer of `sopor up`."""

    def __init__(self, names: list[str], *, as_json: bool) -> None:
        self._names = names
        self._as_json = as_json
        self._ready: set[str] = set()
        self._last_words: dict[str, str] = {}

    def happened(self, event: Event) -> None:
        """Print the event."""
        if event.what is What.READY:
            self._ready.add(event.process)
        if event.what in {What.DIED, What.LATE}:
            self._last_words[event.process] = event.text
        if self._as_json:
            give_text(line_of(event))
        line = text_of(event, self._place(event.process))
        if line is not None:
            say(*line)

    def _place(self, name: str) -> str:
        """Return `[3/8]` for the third that became ready."""
        return f"[{len(self._ready)}/{len(self._names)}]" if name in self._ready else ""

    def say_why(self) -> None:
        """Print the last words of processes that would not start."""
        for name, words in self._last_words.items():
            say(f"{name}: its last lines:\n{words}", BAD)

    def up(self) -> None:
        """Say that all is ready."""
        say(f"up: {len(self._names)} processes; Ctrl-C or `sopor down` stops them", GOOD)

    def tick(self) -> None:
        """Nothing is due."""

    def holds_back(self, asked: int) -> bool:  # noqa: ARG002  whoever asks once is obeyed
        """Let a stop happen at once."""
        return False

    def drained(self, up_to: str) -> None:
        """Nothing is due."""
