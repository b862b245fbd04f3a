"""Control sockets: one JSON line in, one JSON line out. The client of any of them, and the demo's own, served in turns of its loop."""

import contextlib
import json
import os
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from anesthesia.errors import SoporError
from backbone.supervisor.state import State

LONGEST_LINE: Final = 65_536
MOST_TALKS: Final = 8
IDLE_S: Final = 60.0


class NoAnswer(SoporError):
    """Nobody listens at the socket, or what came back is no answer."""


class LateAnswer(NoAnswer):
    """The line was sent, and not answered in time: what it asks for may still happen."""


def demo_socket(state: State) -> Path:
    """Return the control socket of a running demo; `sopor up` has none."""
    return state.socket("demo.sock")


def ask(path: Path, command: Mapping[str, str], within_s: float) -> dict[str, Any]:
    """Send one command and return its answer; NoAnswer when there is none."""
    sent = False
    try:
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(within_s)
            control.connect(str(path))
            control.sendall(json.dumps(command).encode() + b"\n")
            sent = True
            with control.makefile("rb") as answers:
                answer = json.loads(answers.readline(LONGEST_LINE))
    except TimeoutError as fault:
        raise (LateAnswer if sent else NoAnswer)(f"{path.name}: no answer within {within_s:g} s") from fault
    except (OSError, ValueError) as fault:
        raise NoAnswer(f"{path.name}: nobody answers there") from fault
    if not isinstance(answer, dict):
        raise NoAnswer(f"{path.name}: the answer is no JSON object")
    return answer


def answer_to(line: bytes, do: Callable[[str, str | None], str]) -> dict[str, Any]:
    """Return what one line is answered with: a wrong one, and a fault that cannot be done, are answered too."""
    try:
        fields = json.loads(line)
    except ValueError:
        return {"ok": False, "error": "no JSON"}
    if not isinstance(fields, dict) or fields.keys() - {"fault", "room"}:
        return {"ok": False, "error": "a JSON object with `fault`, and `room` where the fault has one, is needed"}
    name, room = fields.get("fault"), fields.get("room")
    if not isinstance(name, str) or not isinstance(room, str | None):
        return {"ok": False, "error": "`fault` and `room` are texts"}
    try:
        return {"ok": True, "done": do(name, room)}
    except SoporError as fault:
        return {"ok": False, "error": str(fault)}


@dataclass(eq=False, slots=True)
class Talk:
    """One connection: what was heard and not answered yet."""

    peer: socket.socket
    heard: bytearray = field(default_factory=bytearray)
    since_s: float = field(default_factory=time.monotonic)


class ControlSocket:
    """Serves commands without a thread and without waiting: call `turn` often, it does at most one command."""

    def __init__(self, path: Path, do: Callable[[str, str | None], str]) -> None:
        """Listen at `path`, for our own account alone; `do` takes a fault and its room and returns what was done."""
        self._path, self._do = path, do
        self._talks: set[Talk] = set()
        self._selector = selectors.DefaultSelector()
        path.unlink(missing_ok=True)
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        before = os.umask(0o177)
        try:
            self._listening.bind(str(path))
        finally:
            os.umask(before)
        self._listening.listen(MOST_TALKS)
        self._selector.register(self._listening, selectors.EVENT_READ)

    def turn(self) -> None:
        """Take who comes, hear what is there, answer the first whole line."""
        for key, _ in self._selector.select(0):
            if key.data is None:
                self._welcome()
            else:
                self._hear(key.data)
        talk = next((one for one in self._talks if b"\n" in one.heard), None)
        if talk is not None:
            self._answer(talk)
        for idle in [one for one in self._talks if time.monotonic() - one.since_s > IDLE_S]:
            self._end(idle)

    def _welcome(self) -> None:
        with contextlib.suppress(OSError):  # who came is gone again
            peer, _ = self._listening.accept()
            if len(self._talks) >= MOST_TALKS:
                peer.close()
                return
            peer.setblocking(False)
            talk = Talk(peer)
            self._talks.add(talk)
            self._selector.register(peer, selectors.EVENT_READ, talk)

    def _hear(self, talk: Talk) -> None:
        try:
            read = talk.peer.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            read = b""
        talk.heard += read
        if not read or len(talk.heard) > LONGEST_LINE:
            self._end(talk)

    def _answer(self, talk: Talk) -> None:
        line, _, rest = talk.heard.partition(b"\n")
        talk.heard, talk.since_s = rest, time.monotonic()
        answer = json.dumps(answer_to(bytes(line), self._do)).encode() + b"\n"
        try:
            talk.peer.sendall(answer)
        except OSError:  # gone, or it does not read: nothing here waits for it
            self._end(talk)

    def _end(self, talk: Talk) -> None:
        self._talks.discard(talk)
        self._selector.unregister(talk.peer)
        talk.peer.close()

    def close(self) -> None:
        """End all talks and give back the path."""
        for talk in tuple(self._talks):
            self._end(talk)
        self._listening.close()
        self._selector.close()
        self._path.unlink(missing_ok=True)
