"""What must be there before the first start, made once: keys, the database's password, and the demo's EHR.

python prepare.py keys   the vault's keys, PostgreSQL's password, and how the EHR writer logs in to the demo's EHR
python prepare.py seed   wait for the demo's EHR and make its patients

Secrets are made in volumes, never in an image or an environment. What is there already is left as it is.
"""

import os
import secrets
import sys
import time
from pathlib import Path
from typing import Final

from backbone.supervisor.ehr import STORED, EhrAccess, ehr, seed_of
from backbone.supervisor.state import State
from backbone.vault import make_keys

STATE: Final = State(Path("/var/lib/sopor"))
DATABASE: Final = STATE.folder / "database"
EHR: Final = STATE.folder / "ehr"
ROLE: Final = "sopor"
EHR_PORT: Final = 8090
SEED_WITHIN_S: Final = 300.0
PAUSE_S: Final = 0.5


def make_password(folder: Path) -> None:
    """Make `pgpass` for our processes (libpq wants it to be theirs alone), then `password` for the server, who is another user.

    Who does not mount the volume sees neither.
    """
    passfile, server = folder / "pgpass", folder / "password"
    if server.exists():
        return
    password = secrets.token_urlsafe(32)
    for path, text, mode in ((passfile, f"*:*:*:{ROLE}:{password}\n", 0o600), (server, password, 0o444)):
        fresh = path.with_suffix(".new")
        fresh.write_text(text, encoding="ascii")
        fresh.chmod(mode)
        fresh.replace(path)
    folder.chmod(0o711)


def make() -> None:
    """Make all that is not there yet."""
    make_keys(STATE.keys)
    make_password(DATABASE)
    if not (EHR / "targets.toml").exists():
        ehr(STATE, EHR_PORT, (), after=())
    sys.stdout.write("keys, password and EHR access are there\n")


def seed() -> int:
    """Make the demo's patients in its EHR, once it answers; 1 when it does not in time."""
    from cli.demo_ward import patients_of  # `keys` is run at every start, and needs nothing of it

    patients = patients_of()
    access = EhrAccess(EHR_PORT, (EHR / "reader.token").read_text(encoding="ascii").strip())
    deadline_s = time.monotonic() + SEED_WITHIN_S
    while time.monotonic() < deadline_s:
        answer = access.ask("POST", "", seed_of(patients)) or {}
        known = [entry for entry in answer.get("entry", []) if str(entry["response"]["status"]).startswith(STORED)]
        if len(known) == len(patients):
            sys.stdout.write(f"the EHR knows {len(known)} patients\n")
            return os.EX_OK
        time.sleep(PAUSE_S)
    sys.stderr.write(f"the EHR did not answer within {SEED_WITHIN_S:g} s\n")
    return 1


if __name__ == "__main__":
    if sys.argv[1:] == ["keys"]:
        make()
    else:
        sys.exit(seed())
