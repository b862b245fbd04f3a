"""What a proposed mapping would change, counted over messages that were taken already."""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from backbone.site import read_site
from backbone.vault import make_keys, open_vault
from cli.main import run
from services.hl7_listener.journal import Journal
from services.hl7_listener.mapping import parse_mapping
from services.hl7_listener.mapping_folder import SHIPPED, MappingFolder
from services.hl7_listener.plan import Change, Heard, changes_of
from services.hl7_listener.record import Commit, MessageRow, State
from tests.messages import HEART_RATE, PERCENT, SPO2, START, eeg, nm, oru

SITE = read_site(SHIPPED.parent / "demo" / "sopor.toml")
SOURCE = next(source for source in SITE.source if source.sending_application == "SIM_MINDRAY")
LIVE = (SHIPPED / "mindray_egateway.yaml").read_bytes()
NEW = "149514^MDC_PULS_RATE^MDC"
ROW = f'  - {{ signal: pulse_rate, code: "{NEW}", unit: "264864^MDC_DIM_BEAT_PER_MIN^MDC" }}\n'.encode()
MORE = LIVE.replace(b"numerics:\n", b"numerics:\n" + ROW, 1)


def heard(*rows: str) -> Heard:
    return Heard(SOURCE, oru(rows), START, timedelta(0))


def changes(after: bytes, *messages: Heard) -> dict[str, Change]:
    return changes_of(messages, parse_mapping(LIVE, "live"), parse_mapping(after, "candidate"))


def test_a_new_row_gains_readings_and_leaves_the_others():
    found = changes(MORE, heard(nm(HEART_RATE, 72), nm(NEW, 60)), heard(nm(HEART_RATE, 73)))

    assert found == {"heart_rate": Change(same=2), "pulse_rate": Change(gained=1)}


def test_a_row_that_is_gone_loses_readings():
    without = b"\n".join(line for line in LIVE.split(b"\n") if b"signal: spo2" not in line)

    found = changes(without, heard(nm(SPO2, 98, PERCENT), *eeg(range(128))))

    assert found == {"spo2": Change(lost=1), "eeg_1": Change(same=1)}


def test_a_value_that_would_be_read_otherwise_is_changed():
    found = changes(LIVE.replace(b"sentinels: [-1,", b"sentinels: [98,"), heard(nm(SPO2, 98, PERCENT), nm(HEART_RATE, 72)))

    assert found == {"heart_rate": Change(same=1), "spo2": Change(changed=1)}


def test_two_readings_of_one_signal_and_instant_are_two():
    found = changes(MORE, heard(nm("149530^MDC_PULS_OXIM_PULS_RATE^MDC", 60), nm(NEW, 61)))

    assert found == {"pulse_rate": Change(gained=1, same=1)}


def test_a_message_that_cannot_be_read_changes_nothing():
    assert changes(MORE, Heard(SOURCE, b"no HL7", START, timedelta(0))) == {}


# ---- over a journal ----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def journal(tmp_path) -> Iterator[Journal]:
    make_keys(tmp_path / "keys")
    made = Journal(tmp_path / "journal", open_vault(tmp_path / "keys").journal)
    yield made
    await made.close()


def taken(journal: Journal, at: datetime, *, digest: str = "d") -> Commit:
    content = oru([nm(NEW, 60)], at=at)
    row = MessageRow(journal.next_sequence(), at, State.ACCEPTED, content, source=SOURCE.name, mapping_digest=digest)
    return Commit(row)


async def test_the_last_hour_of_the_journal_is_read_again_and_only_that(journal, tmp_path, monkeypatch, capsys):
    now = datetime.now(UTC)
    for commit in (taken(journal, now - timedelta(minutes=61)), taken(journal, now), taken(journal, now, digest="")):
        await journal.commit(commit, now)
    shutil.copytree(SHIPPED, tmp_path / "mappings")
    MappingFolder(tmp_path / "mappings").propose("mindray_egateway", MORE, "ada", now)
    monkeypatch.setenv("SOPOR_MAPPINGS", str(tmp_path / "mappings"))

    with pytest.raises(SystemExit) as end:
        run(("config", "plan", "mindray_egateway", "--state", str(tmp_path), "--json"))

    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert not end.value.code
    assert rows == [{"signal": "pulse_rate", "gained": 1, "lost": 0, "changed": 0, "same": 0}]


def test_where_no_listener_ran_the_command_says_so(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        run(("config", "plan", "mindray_egateway", "--state", str(tmp_path)))

    assert (end.value.code, "no journal" in capsys.readouterr().err) == (6, True)
