"""The supervisor's values: backoff, exits, paths, accounts, events."""

import json
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backbone.supervisor.account import Account, closed_folder
from backbone.supervisor.backoff import Backoff
from backbone.supervisor.child import Exit, exit_of, open_log
from backbone.supervisor.errors import AlreadyUp, BadState
from backbone.supervisor.events import Event, What, line_of
from backbone.supervisor.state import State, default_folder, holder, locked, make_folder
from backbone.supervisor.status import ProcessStatus, Status, living, read, write

pytestmark = pytest.mark.unit
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_the_wait_doubles_up_to_ten_seconds():
    backoff, waits = Backoff(), []

    for _ in range(6):
        waits.append(backoff.wait_s)
        backoff = backoff.next()

    assert waits == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_a_life_of_a_minute_forgives_what_was_before():
    tired = Backoff(8.0)

    assert Backoff(8.0) == tired.after_life_of(59.9)
    assert Backoff(1.0) == tired.after_life_of(60.0)


def test_an_exit_says_code_or_signal():
    assert Exit(3) == exit_of(3)
    assert Exit(None, "SIGKILL") == exit_of(-9)
    assert str(exit_of(-15)) == "was killed by SIGTERM"
    assert str(exit_of(1)) == "ended with code 1"


def test_root_keeps_its_state_under_var_lib_and_others_at_home():
    home = Path("/home/ada")

    assert Path("/var/lib/sopor") == default_folder(root=True, home=home, state_home=None)
    assert Path("/home/ada/.local/state/sopor") == default_folder(root=False, home=home, state_home=None)
    assert Path("/x/sopor") == default_folder(root=False, home=home, state_home=Path("/x"))


def test_a_socket_path_too_long_for_the_system_is_refused_with_what_to_set(tmp_path):
    state = State(tmp_path / ("deep" * 30))

    with pytest.raises(BadState, match="SOPOR_STATE"):
        state.socket("model.sock")


def test_the_outermost_folder_that_an_account_cannot_enter_is_named():
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        closed = Path(made)  # 0700, as the system makes it
        (closed / "inner").mkdir()

        found = closed_folder(closed / "inner" / "not-there-yet", Account("stranger", 54321, 54321))

        assert closed.resolve() == found


def test_an_ordinary_users_own_account_is_never_locked_out(tmp_path):
    assert closed_folder(tmp_path, None) is None


def test_a_folder_that_was_there_keeps_its_permissions(tmp_path):
    there = tmp_path / "there"
    there.mkdir(mode=0o750)

    make_folder(there / "new", 0o700)
    make_folder(there, 0o711)

    assert there.stat().st_mode & 0o777 == 0o750
    assert (there / "new").stat().st_mode & 0o777 == 0o700


def test_two_supervisors_cannot_hold_one_state_folder(tmp_path):
    state = State(tmp_path)

    with locked(state):
        held_by = holder(state)
        with pytest.raises(AlreadyUp, match="sopor down"), locked(state):
            pass

    assert held_by is not None
    assert holder(state) is None


def test_a_log_that_grew_too_large_is_put_aside(tmp_path):
    log = tmp_path / "web.log"
    with log.open("wb") as file:
        file.truncate(20_000_001)

    os.close(open_log(log))

    assert log.stat().st_size == 0
    assert (tmp_path / "web.log.1").stat().st_size == 20_000_001


def test_an_event_is_one_line_without_the_processs_words():
    event = Event(NOW, What.DIED, "web", 17, Exit(None, "SIGKILL"), backoff_s=2.0, elapsed_s=1.23456, text="secret words")

    line = json.loads(line_of(event))

    assert {"event": "died", "process": "web", "pid": 17, "signal": "SIGKILL", "backoff_s": 2.0, "elapsed_s": 1.235}.items() <= line.items()
    assert "secret" not in line_of(event)


def test_a_status_file_is_read_as_written_and_a_broken_one_is_none(tmp_path):
    state = State(tmp_path)
    status = Status(pid=1, state="up", started_at="now", processes=(ProcessStatus(name="web", state="ready", pid=2, born=3.0),))

    write(state, status)
    as_written = read(state)
    state.status.write_text("{", encoding="utf-8")

    assert status == as_written
    assert read(state) is None


def test_a_process_id_used_again_by_another_is_not_taken_for_ours():
    assert living(ProcessStatus(name="web", state="ready", pid=os.getpid(), born=1.0)) is None
    assert living(ProcessStatus(name="web", state="ready", pid=None)) is None
