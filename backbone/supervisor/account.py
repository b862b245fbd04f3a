"""Which account the embedded servers run as. PostgreSQL refuses root, so root lends them `nobody`."""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backbone.supervisor.errors import NoServer

UNPRIVILEGED: Final = "nobody"


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine."""

    name: str
    uid: int
    gid: int


def server_account() -> Account | None:
    """Return the account for the servers: `nobody` when we are root, else None (our own)."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(UNPRIVILEGED)
    except KeyError as fault:
        raise NoServer(
            f"no user {UNPRIVILEGED!r} in /etc/passwd: PostgreSQL refuses to run as root; run Sopor as an ordinary user, "
            "or give SOPOR_DATABASE_URL and SOPOR_REDIS_URL"
        ) from fault
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _may_enter(folder: Path, account: Account) -> bool:
    about = folder.stat()
    if about.st_uid == account.uid:
        return bool(about.st_mode & stat.S_IXUSR)
    if about.st_gid == account.gid:
        return bool(about.st_mode & stat.S_IXGRP)
    return bool(about.st_mode & stat.S_IXOTH)


def closed_folder(path: Path, account: Account | None) -> Path | None:
    """Return the outermost existing folder on the way to `path` (itself included) that the account cannot enter, or None."""
    if account is None:
        return None
    resolved = path.resolve()
    way = [*reversed(resolved.parents), resolved]
    return next((folder for folder in way if folder.is_dir() and not _may_enter(folder, account)), None)
