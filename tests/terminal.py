"""A terminal for tests: a process with a pseudo-terminal of its own, what it wrote there, what is typed to it, and the terminal's mode."""

import fcntl
import os
import select
import subprocess
import termios
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self


def _take_terminal() -> None:
    """Make standard input the controlling terminal, so that Ctrl-C and Ctrl-Z are signals."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """A process at a terminal. As a context it kills the process at the end, whatever it does then."""

    def __init__(self, argv: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> None:
        """Start it; what it writes is read from now on."""
        self._handle, slave = os.openpty()
        self.before = self.mode()
        self.process = subprocess.Popen(
            argv,
            cwd=folder,
            env=env,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509  one system call, and no lock in it
        )
        # Held open: when the last one closes, a terminal forgets its mode.
        self._slave = slave
        self._said = bytearray()
        self._over = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while not self._over.is_set():
            if select.select([self._handle], [], [], 0.05)[0]:
                self._said += os.read(self._handle, 65_536)

    def __enter__(self) -> Self:
        """Nothing more is needed."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process, if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._over.set()
        self._reader.join()
        os.close(self._handle)
        os.close(self._slave)

    def said(self) -> str:
        """Return everything that was written there, echoes too."""
        return self._said.decode(errors="replace").replace("\r\n", "\n")

    def type(self, text: str) -> None:
        """Type a text, in one piece."""
        os.write(self._handle, text.encode())

    def mode(self) -> list[Any]:
        """Return the terminal's attributes."""
        return termios.tcgetattr(self._handle)

    def restore(self) -> None:
        """Put the terminal back as it was, as a shell does that gets it back."""
        termios.tcsetattr(self._slave, termios.TCSANOW, self.before)

    def echoes(self) -> bool:
        """Tell whether it echoes, and waits for whole lines."""
        flags = termios.tcgetattr(self._handle)[3]
        return bool(flags & termios.ECHO) and bool(flags & termios.ICANON)
