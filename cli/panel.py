"""What a running demo is broken with: the keys of its terminal, and its control socket for `sopor sim fault` of another shell."""

from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from anesthesia.errors import SoporError
from cli.control import ControlSocket
from cli.faults import Faults, NotDone
from cli.keys import HELP, LINE, Key, Keyboard, key_of
from cli.talk import say


class Panel:
    """Keys and socket, worked in the turns of the supervisor's loop. As a context it gives back terminal and path at the end."""

    def __init__(self, faults: Faults, path: Path, keyboard: Keyboard | None) -> None:
        """Take the socket's path; without a keyboard (no terminal) there are no keys."""
        self.faults = faults
        self._path, self._keyboard = path, keyboard
        self._presses: Counter[str] = Counter()
        self._socket: ControlSocket | None = None

    def __enter__(self) -> Self:
        """Take nothing yet: what is not up cannot be broken."""
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        """Give back terminal and path."""
        if self._keyboard is not None:
            self._keyboard.close()
        if self._socket is not None:
            self._socket.close()

    def open(self) -> None:
        """Listen from now on, and say which keys there are."""
        self._socket = ControlSocket(self._path, self._do)
        self._tell()

    def _tell(self) -> None:
        if self._keyboard is not None:
            say(f"  {LINE}", "bold")

    def turn(self) -> None:
        """Do what was pressed or asked for since the last turn."""
        if self._socket is None:
            return
        for char in self._keyboard.pressed() if self._keyboard is not None else "":
            key = key_of(char)
            if char == HELP:
                self._tell()
            elif key is not None:
                self._press(key)
        self._socket.turn()

    def _press(self, key: Key) -> None:
        name, room = key.turns[self._presses[key.char] % len(key.turns)]
        try:
            self._do(name, room)
        except NotDone as fault:  # it is so already, by another shell's hand: the next press does the opposite
            say(f"  {key.char}: {fault}", "red")
        except SoporError as fault:
            say(f"  {key.char}: {fault}", "red")
            return
        self._presses[key.char] += 1

    def _do(self, name: str, room: str | None) -> str:
        text = self.faults.do(name, room)
        say(f"  {text}", "bold magenta")
        return text
