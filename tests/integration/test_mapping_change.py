"""A mapping changes while devices send: approved by a second person, noted in the log, taken up without losing a message."""

import json
import shutil

import psycopg
import pytest

from anesthesia.leaf import event_of
from backbone.database import upgrade
from cli.main import run
from services.hl7_listener.mapping_folder import SHIPPED
from tests.listener import Listener, now
from tests.messages import HEART_RATE, nm, oru
from tests.servers import until

NEW = "149514^MDC_PULS_RATE^MDC"
ROW = ("map", "mindray_egateway", f"code={NEW}", "signal=pulse_rate", "unit=264864^MDC_DIM_BEAT_PER_MIN^MDC")


@pytest.fixture
def sopor(monkeypatch, capsys, tmp_path, database_url):
    upgrade(database_url)
    shutil.copytree(SHIPPED, tmp_path / "mappings")
    monkeypatch.setenv("SOPOR_MAPPINGS", str(tmp_path / "mappings"))
    monkeypatch.setenv("SOPOR_DATABASE_URL", database_url)

    def ended(*arguments, by):
        monkeypatch.setattr("cli.code_change.operator", lambda: by)
        with pytest.raises(SystemExit) as end:
            run(("code", *arguments, "--json"))
        out = capsys.readouterr().out
        assert not end.value.code
        return json.loads(out)

    return ended


@pytest.fixture
def listener(tmp_path, redis_url, sopor):
    one = Listener(tmp_path, redis_url)
    one.start()
    yield one
    one.close()


def sent(number: int) -> bytes:
    return oru([nm(HEART_RATE, 72), nm(NEW, 60)], control_id=f"M{number}", at=now())


def test_an_approved_row_is_used_from_one_message_to_the_next_and_none_is_lost(listener, sopor, database_url):
    peer, asked = listener.peer(), 0

    def ask() -> list[str]:
        nonlocal asked
        asked += 1
        assert peer.ask(sent(asked)) == ["MSA", "AA", f"M{asked}"]
        return [reading.signal for frame in listener.frames()[-1:] for reading in frame.readings]

    until("the first frame is there", ask)
    proposed = sopor(*ROW, by="ada")
    sopor("approve", "mindray_egateway", "--digest", proposed["digest"], by="bea")
    until("the new row is used", lambda: "pulse_rate" in ask())

    until("all frames are there", lambda: len(listener.frames()) == asked)
    signals = [[reading.signal for reading in frame.readings] for frame in listener.frames()]
    digests = [frame.mapping_digest for frame in listener.frames()]
    turn = digests.index(proposed["digest"])
    assert digests == turn * [proposed["replaces"]] + (asked - turn) * [proposed["digest"]]
    assert signals == turn * [["heart_rate"]] + (asked - turn) * [["heart_rate", "pulse_rate"]]
    until("the log is told", lambda: [event.kind for event in listener.told()][-1] == "mapping_loaded")
    assert listener.told()[-1].about["digest"] == proposed["digest"]
    with psycopg.connect(database_url) as connection:
        [(entry,)] = connection.execute("SELECT entry FROM audit_intake").fetchall()
    event = event_of(bytes(entry))
    assert (event.kind, event.actor, event.about["authors"]) == ("mapping_approved", "operator:bea", "ada")
    assert (event.about["digest"], event.about["replaces"]) == (proposed["digest"], proposed["replaces"])


def test_an_edit_that_nobody_approved_is_told_and_not_used(listener, sopor, tmp_path):
    peer = listener.peer()
    path = tmp_path / "mappings" / "mindray_egateway.yaml"
    before = listener.log.read_bytes()

    path.write_bytes(path.read_bytes().replace(b"heart_rate", b"pulse_rate"))
    until("the listener says that it does not use it", lambda: b"mapping_not_used" in listener.log.read_bytes().removeprefix(before))

    peer.ask(sent(1))
    until("the frame is there", lambda: listener.frames() != [])
    assert [reading.signal for reading in listener.frames()[-1].readings] == ["heart_rate"]
