"""Messages of the world: each file is explained in one line, and the explanation says what the listener itself answers.

The public messages lie outside of the repository, as their licences differ; `SOPOR_CORPUS`, by default `../shared/corpus`, names
their folder.
"""

import json
import os
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from backbone.clock import SystemClock
from backbone.site import read_site
from backbone.vault import make_keys, open_vault
from cli.main import run
from services.hl7_listener.consequence import Consequences
from services.hl7_listener.explain import Explanation, Verdict, explanation_of
from services.hl7_listener.intake import Intake, Limits
from services.hl7_listener.journal import Journal
from services.hl7_listener.kept import BOARD, CLOCK
from services.hl7_listener.mapping import read_mapping
from services.hl7_listener.mllp import Decoder, block_of
from services.hl7_listener.oru import Sender

ROOT = Path(__file__).parents[2]
OWN = ROOT / "tests" / "corpora" / "hl7"
PUBLIC = Path(os.environ.get("SOPOR_CORPUS", ROOT.parent / "shared" / "corpus")) / "hl7"
SITE = read_site(ROOT / "deploy" / "demo" / "sopor.toml")
CODES = {name: read_mapping(ROOT / "deploy" / "mappings", name) for name in ("mindray_egateway", "philips_piic")}
KEYS = {"file", "outcome", "ack", "message_type", "control_id", "readings", "refused", "milliseconds"}
ACKS = {"", "AA", "AE", "AR", "CA", "CE", "CR"}
SOURCES = [source for source in SITE.source if source.sending_application in {"SIM_ADT", "SIM_MINDRAY"}]

needs_corpus = pytest.mark.skipif(not PUBLIC.is_dir(), reason=f"the public messages are not on this machine ({PUBLIC}; SOPOR_CORPUS)")
FOLDERS = [pytest.param(OWN, id="own"), pytest.param(PUBLIC, id="public", marks=needs_corpus)]


def explained(folder: Path, capsys) -> dict[str, dict]:
    """Return the line of each file, as the command writes it."""
    with pytest.raises(SystemExit) as end:
        run(("message", "explain", str(folder), "--json"))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert end.value.code == 8
    return {str(Path(line["file"]).relative_to(folder)): line for line in lines}


def parts_of(line: dict) -> Iterator[dict]:
    """Yield a line's own message and those of a file of several."""
    yield line
    yield from line.get("messages", ())


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_file_is_explained_in_exactly_one_line(folder, capsys):
    lines = explained(folder, capsys)

    assert list(lines) == [str(path.relative_to(folder)) for path in sorted(folder.rglob("*.hl7"))]
    assert all(line.keys() - {"messages"} == KEYS for line in lines.values())
    for part in (part for line in lines.values() for part in parts_of(line)):
        assert part["outcome"] in set(Verdict)
        assert part["ack"] in ACKS
        assert "messages" in part or (part["outcome"] in {"partial", "refused"}) == bool(part["refused"])


@needs_corpus
def test_the_lies_of_public_messages_become_no_value(capsys):
    lines = explained(PUBLIC, capsys)

    gas, pleth = lines["device_ge/ge_co2_wrong_codes.hl7"], lines["device_mindray/mindray_egateway_waveform_v231.hl7"]
    assert (gas["readings"], pleth["readings"]) == ([], [])
    assert {"code": "150456^MDC_CO2_ET^MDC", "reason": "disagreement"} in gas["refused"]
    assert {"code": "131330^MDC_PULS_OXIM_PLETH^MDC", "reason": "disagreement"} in pleth["refused"]


@needs_corpus
def test_public_monitors_are_read(capsys):
    lines = explained(PUBLIC, capsys)

    found = {name: {r["signal"]: r["value"] for r in lines[name]["readings"]} for name in ("device_ge/ge_vsp_b1x5.hl7",)}
    vitals = lines["ihe_pcd_tf/tf2_rev8_01.hl7"]
    sentinels = lines["device_other/zug_tr8_sentinels.hl7"]
    assert found["device_ge/ge_vsp_b1x5.hl7"] == {
        "art_systolic": 112.0,
        "art_diastolic": 76.0,
        "art_mean": 95.0,
        "pulse_rate": 80.0,
        "heart_rate": 80.0,
    }
    assert (vitals["ack"], len(vitals["readings"]), {r["status"] for r in vitals["readings"]}) == ("CA", 6, {"questionable"})
    assert {(r["value"], r["status"]) for r in sentinels["readings"]} == {(None, "unavailable")}


# ---- the listener's own answers ----------------------------------------------------------------------------------------------


def renamed(header: re.Match[bytes]) -> bytes:
    """Return an MSH line with MSH-3 named like the source of the demo site that takes its kind."""
    mark = header[1]
    fields = header[0].split(mark, 9)
    if len(fields) < 10:
        return header[0]
    fields[2] = b"SIM_ADT" if fields[8].startswith(b"ADT") else b"SIM_MINDRAY"
    return mark.join(fields)


def as_sent_here(content: bytes) -> bytes:
    """Return a file's content as one that the demo site's own sources send."""
    return re.sub(rb"MSH([^A-Za-z0-9\r\n])[^\r\n]*", renamed, content.strip(b"\x0b\x1c\r\n"))


def acks_of(explanation: Explanation) -> list[str]:
    return [part.ack for part in explanation.messages] or [explanation.ack]


def answered(intake: Intake, content: bytes) -> list[str]:
    """Return MSA-1 of what the listener answers to a block with this content."""
    decoder = Decoder()
    decisions = [intake.take(item) for item in decoder.feed(block_of(content)) + decoder.end()]
    answers = [intake.answer_bytes(decision) if decision else None for decision in decisions]
    return ["" if answer is None else answer.split(b"\r")[1].decode("latin-1")[4:6] for answer in answers]


@pytest.fixture
async def intake(tmp_path):
    make_keys(tmp_path / "keys")
    vault, journal = open_vault(tmp_path / "keys"), Journal(tmp_path / "journal", open_vault(tmp_path / "keys").journal)
    consequences = Consequences(SITE, CODES, vault, {BOARD: {}, CLOCK: {}})
    taking = Intake(SITE, consequences, journal, listener="l", clock=SystemClock(), limits=Limits(10**9))
    yield taking
    await journal.close()
    taking.close()


@pytest.mark.parametrize("folder", FOLDERS)
async def test_the_explanation_says_what_the_listener_answers(folder, intake):
    sender = Sender(CODES["mindray_egateway"], SOURCES[0].time_zone, timedelta(0), SystemClock().now())
    contents = {str(path): as_sent_here(path.read_bytes()) for path in sorted(folder.rglob("*.hl7"))}

    differ = {
        name: (told, said)
        for name, content in contents.items()
        if (told := acks_of(explanation_of(block_of(content), sender))) != (said := answered(intake, content))
    }

    assert differ == {}
