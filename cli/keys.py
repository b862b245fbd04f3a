"""The keys of a demo's terminal: one press, one fault. The terminal is given back as it was found, also when we are paused."""

import contextlib
import os
import select
import signal
import sys
import termios
import tty
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final

HELP: Final = "?"
LONGEST_PRESS: Final = 3  # what comes in one piece and is longer was pasted
ESCAPE: Final = "\x1b"


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its place in the line, and what its presses do in turn, as (fault, room)."""

    char: str
    text: str
    turns: tuple[tuple[str, str | None], ...]


KEYS: Final = (
    Key("p", "pull OR 2's EEG plug (again: put it back)", (("unplug_eeg", "OR 2"), ("replug_eeg", "OR 2"))),
    Key("b", "bolus propofol in OR 3", (("bolus", "OR 3"),)),
    Key("e", "stop the EHR (again: start it)", (("stop_ehr", None), ("start_ehr", None))),
    Key("m", "kill the model server", (("kill_model_server", None),)),
    Key("d", "double-send in OR 1", (("double_send", "OR 1"),)),
    Key("t", "tamper with the audit log", (("tamper_audit", None),)),
)
LINE: Final = "press: " + " | ".join(f"{key.char} {key.text}" for key in KEYS) + f" | {HELP} this line"


def key_of(char: str) -> Key | None:
    """Return the key of a character, or None."""
    return next((key for key in KEYS if key.char == char), None)


class Keyboard:
    """The terminal we were started from, read key by key; only while we are in its foreground. Open it in the main thread."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._before: list[Any] | None = None  # the terminal's attributes as we found them
        self._ours = self._gone = False
        self._handlers = {
            signal.SIGTSTP: signal.signal(signal.SIGTSTP, self._pause),
            signal.SIGCONT: signal.signal(signal.SIGCONT, self._go_on),
        }

    def pressed(self) -> str:
        """Return what was typed since the last call, without waiting; of a paste or a cursor key nothing."""
        if self._gone or not self._foreground():
            return ""
        self._take()
        if not select.select([self._handle], [], [], 0)[0]:
            return ""
        try:
            read = os.read(self._handle, 1024)
        except OSError:
            read = b""
        self._gone = not read
        text = read.decode(errors="ignore")
        return "" if ESCAPE in text or len(text) > LONGEST_PRESS else text

    def _foreground(self) -> bool:
        """Tell whether the terminal is ours to change: a background job that tries is stopped."""
        try:
            return os.tcgetpgrp(self._handle) == os.getpgrp()
        except OSError:
            return False

    def _take(self) -> None:
        """No echo, no waiting for a line; Ctrl-C and Ctrl-Z stay signals."""
        if self._ours:
            return
        with contextlib.suppress(termios.error):
            self._before = self._before or termios.tcgetattr(self._handle)
            tty.setcbreak(self._handle)
            self._ours = True

    def _give_back(self) -> None:
        """Put the terminal back as it was, and forget what was typed: the shell shall not run it."""
        if self._before is not None and self._foreground():
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._handle, termios.TCSAFLUSH, self._before)
        self._before, self._ours = None, False

    def _pause(self, _number: int, _frame: FrameType | None) -> None:
        self._give_back()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # here we stop, until somebody lets us go on
        signal.signal(signal.SIGTSTP, self._pause)

    def _go_on(self, _number: int, _frame: FrameType | None) -> None:
        self._ours = False  # a shell may have changed the terminal meanwhile

    def close(self) -> None:
        """Give the terminal back for good."""
        self._give_back()
        self._gone = True
        for number, handler in self._handlers.items():
            signal.signal(number, handler)


def keyboard() -> Keyboard | None:
    """Return the keyboard of an interactive terminal; None where there is none."""
    streams = (sys.stdin, sys.stdout)
    if any(stream is None or not stream.isatty() for stream in streams):
        return None
    return Keyboard(sys.stdin.fileno())
