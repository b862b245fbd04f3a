"""One running process: started so that it dies with us, ready when it says so, stopped with a limit.

The kernel sends the parent-death signal when the THREAD that forked ends, so children start from the main thread only. Setting the account
clears that signal, so it is set after (subprocess changes the account before it calls `preexec_fn`).
"""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backbone.supervisor.errors import SupervisorError
from backbone.supervisor.spec import ProcessSpec
from backbone.supervisor.state import State

PR_SET_PDEATHSIG: Final = 1  # prctl(2)
LOG_LIMIT_BYTES: Final = 20_000_000
TAIL_BYTES: Final = 4_000
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: with a code, or by a signal."""

    code: int | None
    by_signal: str | None = None

    def __str__(self) -> str:
        return f"was killed by {self.by_signal}" if self.by_signal else f"ended with code {self.code}"


def exit_of(returncode: int) -> Exit:
    """Return the exit that subprocess reports as a number (negative: a signal)."""
    if returncode >= 0:
        return Exit(returncode)
    try:
        return Exit(None, signal.Signals(-returncode).name)
    except ValueError:
        return Exit(None, f"signal {-returncode}")


def dies_with_us(number: signal.Signals) -> Callable[[], None]:
    """Return what a forked child runs before exec: ask the kernel for a signal at our death, and end if we are dead already."""
    parent = os.getpid()

    def prepare() -> None:
        if hasattr(_LIBC, "prctl"):
            _LIBC.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def spawn(spec: ProcessSpec, *, output: int, extra_env: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Start the process of a spec in its own session: Ctrl-C reaches it only through us."""
    if threading.current_thread() is not threading.main_thread():
        raise SupervisorError(f"{spec.name}: processes are started from the main thread, whose death they follow")
    account = spec.account
    inherited = dict(os.environ)  # noqa: TID251  children get ours and what the table adds
    inherited.pop("NOTIFY_SOCKET", None)
    return subprocess.Popen(  # noqa: S603  argv comes from our own table
        spec.argv,
        env={**inherited, **spec.env, **extra_env},
        cwd=spec.folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        umask=0o077,
        start_new_session=True,
        preexec_fn=dies_with_us(spec.stop_signal),  # noqa: PLW1509  no other thread runs here
    )


def open_log(path: Path) -> int:
    """Open a log for appending; one that grew too large is put aside first, replacing the one before."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > LOG_LIMIT_BYTES:
            path.replace(path.with_suffix(".log.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


class Child:
    """A started process. Make it with the spec; `close` it when it is gone."""

    def __init__(self, spec: ProcessSpec, state: State) -> None:
        self.spec = spec
        self.started_s = time.monotonic()
        self.status_text = ""
        self._log = state.logs / f"{spec.name}.log"
        self._address = state.socket(f"notify/{spec.name}.sock")
        self._ready = False
        self._notify = self._listen()
        log = open_log(self._log)
        self._from_byte = os.fstat(log).st_size
        try:
            self._process = spawn(spec, output=log, extra_env={"NOTIFY_SOCKET": str(self._address)})
        except OSError as fault:
            self.close()
            raise SupervisorError(f"{spec.name}: {spec.argv[0]} cannot be started: {fault.strerror}") from fault
        finally:
            os.close(log)

    def _listen(self) -> socket.socket:
        self._address.unlink(missing_ok=True)
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        notify.bind(str(self._address))
        return notify

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def lived_s(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self.started_s

    @property
    def exited(self) -> Exit | None:
        """How it ended, or None while it runs."""
        code = self._process.poll()
        return None if code is None else exit_of(code)

    def ready(self) -> bool:
        """Tell whether it has been ready: its probe answered, or it sent READY=1."""
        if not self._ready:
            self._ready = self.spec.probe() if self.spec.probe else self._was_told()
        return self._ready

    def _was_told(self) -> bool:
        told = False
        with contextlib.suppress(BlockingIOError):
            while True:
                lines = self._notify.recv(4096).decode(errors="replace").splitlines()
                told = told or "READY=1" in lines
                self.status_text = next((line[7:] for line in lines if line.startswith("STATUS=")), self.status_text)
        return told

    def tail(self, lines: int = 16) -> str:
        """Return the last lines that this process wrote, for the person at the screen."""
        with contextlib.suppress(OSError), self._log.open("rb") as log:
            size = os.fstat(log.fileno()).st_size
            log.seek(max(self._from_byte, size - TAIL_BYTES))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])
        return ""

    def ask_to_stop(self) -> None:
        """Send it its stop signal, if it still runs."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(self.spec.stop_signal)

    def kill(self) -> None:
        """End it and what it started, at once, and reap it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self, within_s: float | None = None) -> bool:
        """Ask, wait up to the limit (its drain time), kill. Returns False when it had to be killed."""
        self.ask_to_stop()
        try:
            self._process.wait(self.spec.drain_s if within_s is None else within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        return True

    def close(self) -> None:
        """Give back its socket."""
        self._notify.close()
        self._address.unlink(missing_ok=True)
