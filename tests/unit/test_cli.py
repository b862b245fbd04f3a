"""The command line's values: lines on the screen, exit codes, the site file commands."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from backbone.site import BadSite
from backbone.supervisor.child import Exit
from backbone.supervisor.errors import BadState, NoServer
from backbone.supervisor.events import Event, What
from cli.doctor import disk_finding, python_finding
from cli.exits import ExitCode
from cli.main import WORDS, app, code_of, run
from cli.screen import text_of

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[2]
DEMO = ROOT / "deploy" / "demo" / "sopor.toml"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def sopor(capsys):
    def ended(*arguments):
        with pytest.raises(SystemExit) as end:
            run(arguments)
        said = capsys.readouterr()
        return int(end.value.code), said.out, said.err

    return ended


def test_a_ready_process_is_a_numbered_line_with_its_time():
    event = Event(NOW, What.READY, "model_server", 1, elapsed_s=1.23, text="model depth-eeg@0.1.0")

    line = text_of(event, "[3/8]")

    assert line == ("[3/8] model_server     ready  1.2 s  model depth-eeg@0.1.0", None)


def test_a_death_says_how_and_when_it_starts_again():
    event = Event(NOW, What.DIED, "web", 1, Exit(None, "SIGKILL"), backoff_s=2.0)

    text, _ = text_of(event, "")

    assert text == "! web was killed by SIGKILL; starting it again in 2 s"


def test_a_start_alone_is_no_line():
    assert text_of(Event(NOW, What.STARTED, "web", 1), "") is None


def test_each_error_has_its_exit_code():
    assert code_of(BadSite("")) is ExitCode.CONFIG
    assert code_of(BadState("")) is ExitCode.CONFIG
    assert code_of(NoServer("")) is ExitCode.UNREACHABLE


def test_an_old_python_and_a_full_disk_are_told_with_what_to_do():
    assert python_finding((3, 11)).ok
    assert "3.11 to 3.13" in python_finding((3, 14)).text
    assert not python_finding((3, 10)).ok
    assert disk_finding(3_000_000_000, Path("/x")).ok
    assert "SOPOR_STATE" in disk_finding(1, Path("/x")).text


def test_the_demos_site_file_is_right():
    result = CliRunner().invoke(app, ["config", "check", str(DEMO), "--json"])

    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"path": str(DEMO), "ok": True}


def test_show_gives_the_whole_file_with_its_defaults_as_json():
    result = CliRunner().invoke(app, ["config", "show", str(DEMO), "--json"])

    assert json.loads(result.stdout)["listen"] == {"host": "127.0.0.1", "port": 2575}


def test_the_schema_names_what_is_required():
    result = CliRunner().invoke(app, ["config", "schema"])

    assert set(json.loads(result.stdout)["required"]) == {"site", "bed", "source"}


def test_a_wrong_site_file_ends_with_3_and_the_line_on_stderr(sopor, tmp_path):
    wrong = tmp_path / "sopor.toml"
    wrong.write_text(DEMO.read_text(encoding="utf-8").replace("port = 2575", "port = 99999"), encoding="utf-8")
    line = wrong.read_text(encoding="utf-8").splitlines().index("port = 99999") + 1

    code, data, talk = sopor("config", "check", str(wrong))

    assert code == 3
    assert f"{wrong}:{line}: listen.port" in talk
    assert data == ""


def test_an_unknown_command_is_a_usage_error(sopor):
    assert sopor("nonsense")[0] == 2


def test_a_slip_of_the_pen_is_told_what_was_meant(sopor):
    assert "Did you mean 'demo'?" in sopor("dmeo")[2]


def test_help_shows_every_word_with_what_it_does(sopor):
    code, shown, _ = sopor("--help")

    assert code == 0
    for word in WORDS:
        _, about, _ = sopor(word, "--help")
        assert f"{word} [OPTIONS]" in about
        assert f" {word} " in shown


@pytest.mark.parametrize("command", ["down", "status"])
def test_without_anything_running_there_is_nothing_to_stop_or_show(sopor, tmp_path, command):
    code, data, talk = sopor(command, "--state", str(tmp_path / "none"))

    assert code == 6
    assert "nothing runs here" in talk
    assert data == ""


def test_what_needs_a_running_service_ends_with_4_without_it(sopor, tmp_path):
    assert sopor("code", "unmapped", "--state", str(tmp_path))[0] == 4
    assert sopor("message", "list", "--quarantine", "--state", str(tmp_path))[0] == 4
    assert sopor("sim", "fault", "unplug_eeg", "--room", "OR 2", "--state", str(tmp_path))[0] == 4


def test_a_demo_never_removes_a_folder_that_no_demo_made(sopor, tmp_path):
    precious = tmp_path / "demo" / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("years of work", encoding="utf-8")

    code, _, talk = sopor("demo", "--state", str(tmp_path))

    assert code == 3
    assert "not made by a demo" in talk
    assert precious.exists()


@pytest.mark.parametrize(("old", "new"), [('mapping = "philips_piic"', 'mapping = "nosuch"'), ("depth-eeg@0.1.0", "depth-eeg@9.9.9")])
def test_a_mapping_or_model_that_is_not_there_is_named_with_its_line(tmp_path, capsys, old, new):
    demo = (ROOT / "deploy" / "demo" / "sopor.toml").read_text()
    site = tmp_path / "sopor.toml"
    site.write_text(demo.replace(old, new))
    line = next(n for n, text in enumerate(demo.splitlines(), 1) if old in text)

    with pytest.raises(SystemExit) as end:
        run(["config", "check", str(site)])

    assert end.value.code == 3
    assert f"{site}:{line}:" in capsys.readouterr().err
