"""`sopor demo`: what it refuses before anything is started, and what it ends with."""

import json

import pytest
import typer

from cli.check.accounts import Audited
from cli.check.verdict import verdict_of
from cli.demo import _tell
from cli.main import run
from tests.check_accounts import accounts, records

pytestmark = pytest.mark.unit


@pytest.fixture
def refused(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("SOPOR_STATE", str(tmp_path / "state"))

    def text(*arguments):
        with pytest.raises(SystemExit) as end:
            run(["demo", *arguments])
        assert end.value.code == 2
        assert not (tmp_path / "state").exists()
        return capsys.readouterr().err

    return text


def test_a_fault_without_a_check_is_refused(refused):
    assert "--fault belongs to --check" in refused("--fault", "kill_web")


def test_an_unknown_fault_is_refused_with_those_there_are(refused):
    assert "stop_ehr" in refused("--check", "--fault", "kill_everything")


def test_too_little_time_for_the_faults_is_refused_with_what_they_need(refused):
    assert "--seconds 600" in refused("--check", "--fault", "kill-each")


def ended(capsys, verdict, **how):
    """Return exit code and what was written on stdout."""
    code = 0
    try:
        _tell(verdict, **{"check": True, "as_json": True, **how})
    except typer.Exit as end:
        code = end.exit_code
    return code, capsys.readouterr().out


def test_a_green_verdict_ends_with_zero_and_is_one_json_object(capsys):
    code, out = ended(capsys, verdict_of(accounts()))

    assert code == 0
    assert json.loads(out)["agrees"] is True
    assert out.count("\n") == 1


def test_a_red_verdict_ends_with_one_and_a_changed_audit_log_with_seven(capsys):
    red = verdict_of(accounts(records=records()[:-1]))
    changed = verdict_of(accounts(audited=Audited(300, 280, 1)))

    assert [ended(capsys, one)[0] for one in (red, changed)] == [1, 7]


def test_without_a_verdict_a_check_has_failed_and_a_demo_has_only_ended(capsys):
    assert ended(capsys, None) == (1, "")
    assert ended(capsys, None, check=False) == (0, "")
