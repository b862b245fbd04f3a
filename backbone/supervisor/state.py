"""The state folder: where it is, what lies in it, who may enter, and the lock that lets one supervisor use it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backbone.supervisor.account import Account, closed_folder
from backbone.supervisor.errors import AlreadyUp, BadState

SOCKET_PATH_LIMIT: Final = 107  # bytes; sun_path of unix(7) holds 108 with its final zero
ROOT_FOLDER: Final = Path("/var/lib/sopor")
PRIVATE: Final = 0o700
PASSABLE: Final = 0o711  # others pass through to what is theirs; they list nothing


@dataclass(frozen=True, slots=True)
class State:
    """The names inside one state folder."""

    folder: Path

    @property
    def run(self) -> Path:
        """Sockets of this run."""
        return self.folder / "run"

    @property
    def keys(self) -> Path:
        """The keys of the vault."""
        return self.folder / "keys"

    @property
    def journal(self) -> Path:
        """The listener's journal."""
        return self.folder / "journal"

    @property
    def archive(self) -> Path:
        """The ledger's input archive."""
        return self.folder / "archive"

    @property
    def logs(self) -> Path:
        """One log a process."""
        return self.folder / "log"

    @property
    def postgres(self) -> Path:
        """PostgreSQL's folder: its cluster in `data`."""
        return self.folder / "postgres"

    @property
    def valkey(self) -> Path:
        """Valkey's folder: its append-only file."""
        return self.folder / "valkey"

    @property
    def lock(self) -> Path:
        """The lock; it holds the supervisor's process id."""
        return self.folder / "lock"

    @property
    def status(self) -> Path:
        """What runs, rewritten each second."""
        return self.folder / "status.json"

    @property
    def events(self) -> Path:
        """Each start, death and restart, one JSON line."""
        return self.folder / "supervisor.jsonl"

    def socket(self, name: str) -> Path:
        """Return the path of a socket under `run`; BadState when the system cannot hold so long a path."""
        path = self.run / name
        length = len(os.fsencode(path))
        if length > SOCKET_PATH_LIMIT:
            raise BadState(
                f"{path}: {length} bytes, a socket's path may have {SOCKET_PATH_LIMIT}; set SOPOR_STATE (or --state) to a shorter folder"
            )
        return path


def default_folder(*, root: bool, home: Path, state_home: Path | None) -> Path:
    """Return where state lies when nobody says otherwise: /var/lib/sopor for root, else the XDG state folder."""
    if root:
        return ROOT_FOLDER
    return (state_home or home / ".local" / "state") / "sopor"


def _make(folder: Path, mode: int) -> None:
    """Make a folder with exactly this mode, whatever the umask; leave one that is there as it is."""
    try:
        folder.mkdir()
    except FileExistsError:
        return
    folder.chmod(mode)


def make_folder(folder: Path, mode: int, owner: Account | None = None) -> None:
    """Make a folder, and the missing ones above it; only folders made here get a mode and an owner."""
    try:
        for missing in [one for one in reversed(folder.parents) if not one.exists()]:
            _make(missing, PASSABLE)
        made = not folder.exists()
        _make(folder, mode)
        if made and owner is not None:
            os.chown(folder, owner.uid, owner.gid)
    except OSError as fault:
        raise BadState(f"{folder}: {fault.strerror}; set SOPOR_STATE (or --state) to a folder that you may write") from fault


def prepare(folder: Path, account: Account | None) -> State:
    """Make the state folder with what lies in it, else BadState. A folder that was there keeps its permissions."""
    state = State(folder.resolve())
    make_folder(state.folder, PASSABLE)
    closed = closed_folder(state.folder, account)
    if closed is not None and account is not None:
        raise BadState(
            f"{closed}: user {account.name!r}, whom the servers run as, cannot enter it; "
            f"set SOPOR_STATE (or --state) to a folder such as {ROOT_FOLDER}"
        )
    if not os.access(state.folder, os.W_OK | os.X_OK):
        raise BadState(f"{state.folder}: not writable for you; set SOPOR_STATE (or --state) to a folder that is")
    make_folder(state.run, PASSABLE)
    for private in (state.run / "notify", state.keys, state.journal, state.archive, state.logs):
        make_folder(private, PRIVATE)
    state.socket("postgres/.s.PGSQL.5432.lock")  # the longest name that will be needed
    return state


@contextmanager
def locked(state: State) -> Iterator[None]:
    """Hold the state folder's lock, with our process id in it; AlreadyUp when another holds it."""
    handle = os.open(state.lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as fault:
            raise AlreadyUp(f"{state.folder} is in use by process {_pid_in(state) or 'unknown'}: `sopor down` ends it") from fault
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(handle)


def _pid_in(state: State) -> int | None:
    try:
        return int(state.lock.read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        return None


def holder(state: State) -> int | None:
    """Return the process id of the supervisor that holds this folder, or None when none does."""
    try:
        handle = os.open(state.lock, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except PermissionError:
        return _pid_in(state)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return _pid_in(state)
    finally:
        os.close(handle)
    return None
