"""What the listener would make of a file: one verdict, the answer, readings and refusals, and nothing of the patient."""

import json
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.main import run
from services.hl7_listener.code_set import Mismatch
from services.hl7_listener.explain import Explanation, Verdict, as_data, explanation_of
from services.hl7_listener.mapping import read_mapping
from services.hl7_listener.mllp import LIMIT_BYTES, block_of
from services.hl7_listener.oru import Sender
from tests.messages import BPM, HEART_RATE, PERCENT, SPO2, START, adt, eeg, message, msh, nm, oru

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "tests" / "corpora" / "hl7"
GENERIC = read_mapping(ROOT / "deploy" / "mappings", "generic_pcd01")
SENDER = Sender(GENERIC, ZoneInfo("UTC"), timedelta(0), START)
MMHG, KPA, DEGF = "266016^MDC_DIM_MMHG^MDC", "kPa^kPa^UCUM", "268224^MDC_DIM_FAHR^MDC"
GOOD = oru([nm(HEART_RATE, 72)])
UNKNOWN = oru([nm(HEART_RATE, 72), nm("4711^MDC_NOT_OURS^MDC", 1)], control_id="M2")


def explained(content: bytes) -> Explanation:
    return explanation_of(content, SENDER)


def refusals(explanation: Explanation) -> list[tuple[str, str]]:
    return [(row.code, row.reason) for row in explanation.refused]


@pytest.fixture
def sopor(capsys):
    def ended(*arguments):
        with pytest.raises(SystemExit) as end:
            run(("message", "explain", *map(str, arguments)))
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return ended


# ---- one message -------------------------------------------------------------------------------------------------------------


def test_a_message_whose_every_value_is_known_is_accepted_with_its_readings():
    data = as_data(explained(GOOD))

    assert data == {
        "outcome": "accepted",
        "ack": "AA",
        "message_type": "ORU^R01",
        "control_id": "M1",
        "readings": [
            {"signal": "heart_rate", "value": 72.0, "unit": "/min", "observed_at": "2026-11-21T03:44:59.000+00:00", "status": "valid"}
        ],
        "refused": [],
    }


def test_a_waveform_has_rate_and_count_and_no_value():
    reading = as_data(explained(oru(eeg(range(128)))))["readings"][0]

    assert (reading["signal"], reading["value"], reading["rate_hz"], reading["count"]) == ("eeg_1", None, 128.0, 128)


def test_a_message_with_an_unknown_row_is_partial_and_names_the_code():
    explanation = explained(UNKNOWN)

    assert (explanation.verdict, explanation.ack, len(explanation.readings)) == (Verdict.PARTIAL, "AA", 1)
    assert refusals(explanation) == [("4711^MDC_NOT_OURS^MDC", "unknown_code")]


def test_a_row_that_is_known_and_not_wanted_is_told_as_passed_over():
    explanation = explained(oru([nm("150488^MDC_BLD_PERF_INDEX^MDC", 1.7, PERCENT)]))

    assert (explanation.verdict, refusals(explanation)) == (Verdict.PARTIAL, [("150488^MDC_BLD_PERF_INDEX^MDC", "passed_over")])


@pytest.mark.parametrize(
    ("content", "verdict", "ack", "code"),
    [
        (adt("A01"), Verdict.ACCEPTED, "AA", None),
        (adt("A08"), Verdict.OFF_PATH, "AA", None),
        (message(msh("ORU^R40^ORU_R40", "1"), nm(HEART_RATE, 72)), Verdict.OFF_PATH, "AA", None),
        (message(msh("ORU^R40^ORU_R40", "1", accept="AL|NE")), Verdict.OFF_PATH, "CA", None),
        (message(msh("ORM^O01", "1")), Verdict.REFUSED, "AR", "unsupported_type"),
        (message(msh("ORM^O01", "1", accept="AL|NE")), Verdict.REFUSED, "CR", "unsupported_type"),
        (message(msh("ORU^R01", "1", accept="ER|NE")), Verdict.ACCEPTED, "", None),
        (adt("A01", bed=""), Verdict.REFUSED, "AE", "no_bed"),
        (b"", Verdict.REFUSED, "AR", "no_header"),
        (b"PID|1||ZZCANARYID", Verdict.REFUSED, "AR", "no_header"),
        (message(msh("ORU^R01", "")), Verdict.REFUSED, "AR", "no_control_id"),
    ],
)
def test_the_answer_is_the_one_that_the_listener_would_give(content, verdict, ack, code):
    explanation = explained(content)

    assert (explanation.verdict, explanation.ack) == (verdict, ack)
    assert [row.code for row in explanation.refused] == ([] if code is None else [code])


@pytest.mark.parametrize(
    ("name", "verdict", "reason"),
    [
        ("150456_says_end_tidal_co2.hl7", Verdict.PARTIAL, "disagreement"),
        ("131330_says_pleth.hl7", Verdict.PARTIAL, "disagreement"),
        ("heart_rate_as_structured_numeric.hl7", Verdict.PARTIAL, "disagreement"),
        ("containment_rows_without_value.hl7", Verdict.ACCEPTED, None),
        ("heart_rate_without_type_and_value.hl7", Verdict.ACCEPTED, None),
        ("lf_after_one_segment_only.hl7", Verdict.ACCEPTED, None),
        ("msh_7_is_a_date.hl7", Verdict.ACCEPTED, None),
        ("msh_7_ends_at_the_minute.hl7", Verdict.ACCEPTED, None),
        ("msh_7_and_evn_2_are_dates.hl7", Verdict.ACCEPTED, None),
    ],
)
def test_numbers_that_lie_are_refused_and_rows_without_a_value_are_not(name, verdict, reason):
    explanation = explained((CORPUS / name).read_bytes())

    assert (explanation.verdict, [row.reason for row in explanation.refused]) == (verdict, [] if reason is None else [reason])


@pytest.mark.parametrize("created", ["", "20261121", "202611210345"])
def test_without_any_time_of_its_own_the_time_is_left_open(created):
    content = message(f"MSH|^~\\&|A||||{created}||ORU^R01|1", "PV1||I|OR^^1", nm(HEART_RATE, 72))

    assert as_data(explained(content))["readings"][0]["observed_at"] is None


def test_an_answer_sent_to_us_is_kept_and_not_answered():
    explanation = explained((CORPUS / "acknowledgment_of_no_message_of_ours.hl7").read_bytes())

    assert (explanation.verdict, explanation.ack, explanation.message_type) == (Verdict.OFF_PATH, "", "ACK^R01")


# ---- files -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [GOOD + UNKNOWN, block_of(GOOD) + block_of(UNKNOWN), GOOD.replace(b"\r", b"\n") + b"\n\n" + UNKNOWN.replace(b"\r", b"\r\n")],
)
def test_each_message_of_a_file_is_explained(content):
    explanation = explained(content)

    assert (explanation.verdict, explanation.ack) == (Verdict.PARTIAL, "")
    assert [(m.verdict, m.control_id) for m in explanation.messages] == [(Verdict.ACCEPTED, "M1"), (Verdict.PARTIAL, "M2")]


def test_a_batch_is_refused_as_such_and_its_messages_are_explained_on_their_own():
    explanation = explained(b"FHS|^~\\&\rBHS|^~\\&\r" + GOOD + UNKNOWN + b"BTS|2\rFTS|1\r")

    assert (explanation.verdict, explanation.ack, explanation.refused[0].code) == (Verdict.REFUSED, "AR", "batch")
    assert [m.verdict for m in explanation.messages] == [Verdict.ACCEPTED, Verdict.PARTIAL]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"GET / HTTP/1.1\r\n" + block_of(GOOD), [("frame_junk", ""), ("", "AA")]),
        (b"\x0b" + GOOD[:150] + block_of(GOOD), [("frame_abandoned", ""), ("", "AA")]),
        (block_of(GOOD) + b"\x0b" + GOOD, [("", "AA"), ("frame_cut_short", "")]),
        (block_of(b"BHS|^~\\&\r" + GOOD) + block_of(GOOD + GOOD), [("batch", "AR"), ("several_headers", "AR")]),
    ],
)
def test_blocks_are_taken_as_they_would_come_from_a_connection(content, expected):
    found = [(m.refused[0].code if m.refused else "", m.ack) for m in explained(content).messages]

    assert found == expected


@pytest.mark.parametrize("content", [b"\n" + block_of(GOOD) + b"\n\n", b"\x0b" + block_of(GOOD), block_of(GOOD)[:-1], GOOD + b"\x1c\r"])
def test_what_an_editor_adds_or_a_sender_leaves_out_is_no_second_message(content):
    assert as_data(explained(content)) == as_data(explained(GOOD))


def test_a_message_over_the_limit_is_refused_by_its_head():
    explanation = explained(GOOD + b"NTE|1||" + b"x" * LIMIT_BYTES)

    assert (explanation.ack, explanation.control_id, explanation.refused[0].code) == ("AE", "M1", "frame_too_long")


def test_nothing_of_the_patient_is_told():
    person = "ZZCANARYID^^^HOSP^MR||ZZCANARYFAMILY^ZZCANARYGIVEN||19700615"
    rows = [
        nm(HEART_RATE, "ZZCANARYVALUE"),
        "OBX|1|ST|1^ZZCANARYFAMILY, ZZCANARYGIVEN^L||ZZCANARYTEXT",
        "OBX|2|TX|born 19700615 ZZCANARYID||x",
    ]
    contents = [oru(rows, person=person), adt("A01"), GOOD.replace(b"ORU^R01^ORU_R01", b"ZZCANARYFAMILY^19700615")]

    told = json.dumps([as_data(explained(content)) for content in contents])

    assert "ZZCANARY" not in told
    assert "19700615" not in told


@settings(max_examples=200)
@given(st.binary(max_size=60), st.binary(max_size=60), st.integers(0, 400))
def test_any_bytes_are_explained(before, inside, place):
    content = before + block_of(GOOD)[:place] + inside + GOOD[place:]

    assert explained(content).verdict in set(Verdict)
    assert explained(inside).verdict in set(Verdict)


# ---- the generic mapping -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "value", "unit", "expected"),
    [
        ("147842^MDC_ECG_CARD_BEAT_RATE^MDC", 72, BPM, ("heart_rate", 72.0)),
        ("147842^MDC_ECG_HEART_RATE^MDC", 72, "/min^/min^UCUM", ("heart_rate", 72.0)),
        (SPO2, 98, "262688^MDC_DIM_PERCENT^MDC^%^%^UCUM", ("spo2", 98.0)),
        ("150344^MDC_TEMP^MDC", 98.6, DEGF, ("temperature", 37.0)),
        ("151708^MDC_CONC_AWAY_CO2_ET^MDC", 5, KPA, ("etco2", 37.503)),
        ("150033^MDC_PRESS_BLD_ART_SYS^MDC", 112, MMHG, ("art_systolic", 112.0)),
    ],
)
def test_each_unit_that_was_met_is_read_and_converted_by_its_row(code, value, unit, expected):
    reading = explained(oru([nm(code, value, unit)])).readings[0]

    assert (reading.signal, reading.value) == (expected[0], pytest.approx(expected[1], abs=1e-3))


@pytest.mark.parametrize(
    "key",
    [
        ("150456", "MDC_CO2_ET", "MDC", MMHG),
        ("150456", "MDC_PULS_OXIM_SAT_O2", "MDC", MMHG),
        ("150456", "MDC_PULS_OXIM_SAT_O2", "LN", PERCENT),
        ("150456", "", "MDC", PERCENT),
        ("131330", "MDC_PULS_OXIM_PLETH", "MDC", ""),
        ("149522", "MDC_PULS_RATE", "MDC", BPM),
        ("150344", "MDC_TEMP", "MDC", PERCENT),
        ("1", "MDC_ECG_HEART_RATE", "MDC", BPM),
    ],
)
def test_one_part_that_differs_is_a_disagreement(key):
    assert GENERIC.row_of(key, "1.1.1.1") is Mismatch.DISAGREEMENT


def test_each_number_of_the_generic_mapping_has_one_meaning():
    meanings = {}
    for (code, *_), rows in GENERIC.rows.items():
        meanings.setdefault(code, set()).update("eeg" if row.kind == "waveform" else row.signal or row.kind for row in rows)

    assert {code: found for code, found in meanings.items() if len(found) > 1} == {}


# ---- the command -------------------------------------------------------------------------------------------------------------


def test_a_folder_is_one_line_a_file_in_order_and_the_code_tells_of_refusals(sopor, tmp_path):
    (tmp_path / "b").mkdir()
    for name, content in (("b/2.hl7", UNKNOWN), ("a.hl7", GOOD), ("b/1.hl7", GOOD + UNKNOWN), ("c.txt", b"")):
        (tmp_path / name).write_bytes(content)

    code, out, err = sopor(tmp_path, "--json")

    lines = [json.loads(line) for line in out.splitlines()]
    assert [(line["file"], line["outcome"]) for line in lines] == [
        (str(tmp_path / "a.hl7"), "accepted"),
        (str(tmp_path / "b" / "1.hl7"), "partial"),
        (str(tmp_path / "b" / "2.hl7"), "partial"),
    ]
    assert all(line["milliseconds"] >= 0 for line in lines)
    assert (code, err) == (8, "3 file(s): 1 accepted, 2 partial, 0 refused, 0 off_path\n")


def test_a_file_without_refusals_ends_well_and_is_a_table_for_people(sopor, tmp_path):
    path = tmp_path / "one.hl7"
    path.write_bytes(GOOD)

    code, out, _ = sopor(path)

    assert code == 0
    assert "accepted  ORU^R01 M1 AA" in out
    assert "heart_rate" in out


def test_each_refused_code_is_listed_once_with_its_count(sopor, tmp_path):
    path = tmp_path / "one.hl7"
    path.write_bytes(oru([nm("4711^MDC_NOT_OURS^MDC", 1)] * 3))

    code, out, _ = sopor(path)

    assert code == 8
    assert out.splitlines()[-1].split() == ["4711^MDC_NOT_OURS^MDC", "unknown_code", "3"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nothing.hl7"], 6, "no such file or folder"),
        (["."], 6, "holds no *.hl7"),
        (["one.hl7", "--zone", "Mars/Olympus"], 2, "is no zone"),
        (["one.hl7", "--mapping", "../secret"], 2, "none of bbraun_space, capsule, ge_carescape, generic_pcd01"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(sopor, tmp_path, monkeypatch, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    if arguments[0] == "one.hl7":
        (tmp_path / "one.hl7").write_bytes(GOOD)

    ended, _, err = sopor(*arguments)

    assert (ended, said in err) == (code, True)


def test_zone_and_mapping_are_chosen(sopor, tmp_path):
    path = tmp_path / "one.hl7"
    path.write_bytes(oru([nm("120^MNDRY_EEG_BISPECTRAL_INDEX^99MNDRY", 45, "262656^MDC_DIM_DIMLESS^MDC")]).replace(b"+0000", b""))

    code, out, _ = sopor(path, "--json", "--zone", "Europe/Berlin", "--mapping", "mindray_egateway")

    reading = json.loads(out)["readings"][0]
    assert (code, reading["signal"], reading["observed_at"]) == (0, "bis", "2026-11-21T02:44:59.000+00:00")


def test_a_site_explains_by_the_mappings_of_its_own_folder(sopor, tmp_path, monkeypatch):
    (tmp_path / "own.yaml").write_bytes((ROOT / "deploy" / "mappings" / "capsule.yaml").read_bytes())
    (tmp_path / "one.hl7").write_bytes(GOOD)
    monkeypatch.setenv("SOPOR_MAPPINGS", str(tmp_path))

    ended, out, _ = sopor(tmp_path / "one.hl7", "--mapping", "own", "--json")

    assert (ended, json.loads(out)["readings"]) == (8, [])
