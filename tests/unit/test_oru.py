"""ORU messages to Readings: times, values, statuses, waveforms, and the rows that become none."""

from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anesthesia.reading import Numeric, Status, TimeSource, Waveform
from services.hl7_listener.mapping import read_mapping
from services.hl7_listener.message import BadMessage, charset_of, header_of, message_of, unescaped
from services.hl7_listener.oru import Report, Sender, fitted, readings_of
from tests.messages import HEART_RATE, PERCENT, SPO2, START, eeg, message, msh, nm, oru, stamp

ROOT = Path(__file__).parents[2]
CODES = read_mapping(ROOT / "deploy" / "mappings", "mindray_egateway")
CORPUS = ROOT / "tests" / "corpora" / "hl7"
OUTSIDE_CORPUS = ROOT.parent / "shared" / "corpus" / "hl7"
ML_H = "265266^MDC_DIM_MILLI_L_PER_HR^MDC"
MG_ML, UG_ML = "264306^MDC_DIM_MILLI_G_PER_ML^MDC", "264307^MDC_DIM_MICRO_G_PER_ML^99SOPOR"


RECEIVED = START + timedelta(seconds=0.2)


def report_of(content: bytes, offset_s: float = 0.0) -> Report:
    header = header_of(content)
    sender = Sender(CODES, ZoneInfo("UTC"), timedelta(seconds=offset_s), RECEIVED)
    return readings_of(message_of(content, header, charset_of(header, "utf-8")), sender)


def only(content: bytes) -> Numeric | Waveform:
    report = report_of(content)
    assert len(report.readings) == 1, report
    return report.readings[0]


def test_numerics_carry_signal_value_and_the_start_of_their_interval():
    report = report_of(oru([nm(HEART_RATE, 72), nm(SPO2, 98.5, PERCENT)]))

    assert [(r.signal, r.value, r.status, r.time_source) for r in report.readings] == [
        ("heart_rate", 72.0, Status.VALID, TimeSource.OBR_7),
        ("spo2", 98.5, Status.VALID, TimeSource.OBR_7),
    ]
    assert report.readings[0].observed_at == START - timedelta(seconds=1)
    assert (report.bed, report.unmapped) == ("OR^^1", ())


def test_an_episodic_value_keeps_its_own_time_and_every_time_is_moved_by_the_offset():
    own = START - timedelta(minutes=3)

    report = report_of(oru([nm(HEART_RATE, 72, at=stamp(own)), nm(HEART_RATE, 73)]), offset_s=-3600)

    assert [r.observed_at for r in report.readings] == [own - timedelta(hours=1), START - timedelta(hours=1, seconds=1)]
    assert report.readings[0].time_source is TimeSource.OBX_14


def test_without_obr_7_the_time_is_that_of_the_message_then_of_the_receipt():
    first = only(message(msh("ORU^R01", "1"), "PV1||I|OR^^1", nm(HEART_RATE, 72)))
    second = only(message("MSH|^~\\&|A|||||| ORU^R01|1", "PV1||I|OR^^1", "OBR|1", nm(HEART_RATE, 72)))

    assert (first.observed_at, first.time_source) == (START, TimeSource.MSH_7)
    assert second.time_source is TimeSource.RECEIPT


@pytest.mark.parametrize(
    ("value", "flags", "result", "expected"),
    [
        ("72", "", "R", (72.0, Status.VALID)),
        ("72", "H~HH", "F", (72.0, Status.VALID)),
        ("", "NAV", "X", (None, Status.UNAVAILABLE)),
        ("", "", "R", (None, Status.UNAVAILABLE)),
        ("---", "", "R", (None, Status.UNAVAILABLE)),
        ("72", "NAV", "R", (None, Status.UNAVAILABLE)),
        ("-999", "", "R", (None, Status.UNAVAILABLE)),
        ("-99.90", "", "R", (None, Status.UNAVAILABLE)),
        ("32767", "", "R", (None, Status.UNAVAILABLE)),
        ("72", "INV", "R", (72.0, Status.INVALID)),
        ("72", "H~INV", "R", (72.0, Status.INVALID)),
        ("72", "", "D", (72.0, Status.INVALID)),
        ("72", "QUES", "R", (72.0, Status.QUESTIONABLE)),
        ("72", "", "X", (72.0, Status.QUESTIONABLE)),
        ("384.5", "", "R", (384.5, Status.INVALID)),
        ("1,76", "", "R", (None, Status.INVALID)),
        (">19", "", "R", (None, Status.INVALID)),
        ("NaN", "", "R", (None, Status.INVALID)),
        ("1e999", "", "R", (None, Status.INVALID)),
        ("7_2", "", "R", (None, Status.INVALID)),
    ],
)
def test_only_a_plain_believable_number_is_valid(value, flags, result, expected):
    reading = only(oru([nm(HEART_RATE, value, flags=flags, result=result)]))

    assert (reading.value, reading.status) == expected


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("150456_says_end_tidal_co2.hl7", "disagreement"),
        ("131330_says_pleth.hl7", "disagreement"),
        ("heart_rate_as_structured_numeric.hl7", "disagreement"),
        ("nobody_knows_this_code.hl7", "unknown_code"),
    ],
)
def test_a_row_that_does_not_agree_becomes_no_reading_and_is_listed(name, reason):
    report = report_of((CORPUS / name).read_bytes())

    assert report.readings == ()
    assert [u.reason for u in report.unmapped] == [reason]


def test_eeg_is_int16_counts_with_a_scale_on_the_clock_of_its_interval():
    samples = [(-1) ** n * n for n in range(128)]

    wave = only(oru(eeg(samples, channel=2)))

    assert (wave.signal, wave.rate_hz, wave.scale, wave.start) == ("eeg_2", 128.0, 0.1, START - timedelta(seconds=1))
    assert wave.samples.dtype == np.int16
    assert wave.samples.tolist() == samples


def test_the_sub_rows_may_come_first_and_each_channel_has_its_own():
    one, two = eeg([1] * 128, channel=1, resolution=0.1), eeg([2] * 128, channel=2, resolution=0.2)

    report = report_of(oru([*one[1:], *two[::-1], one[0]]))

    assert sorted((r.signal, r.scale) for r in report.readings) == [("eeg_1", 0.1), ("eeg_2", 0.2)]


@pytest.mark.parametrize(
    ("rows", "span_s", "reason"),
    [
        (eeg([1] * 128, rate=250), 1.0, "rate_disagreement"),
        (eeg([1] * 128)[:2], 1.0, "no_resolution"),
        (eeg([1] * 128), 0.0, "no_interval"),
        (eeg([1] * 128), 3600.0, "no_interval"),
        ([eeg([1, 2])[0].replace("1^2", "1^^2"), *eeg([1, 2], rate=3)[1:]], 1.0, "bad_samples"),
        ([eeg([1, 2])[0].replace("1^2", "1^nan"), *eeg([1, 2], rate=2)[1:]], 1.0, "bad_samples"),
    ],
)
def test_a_waveform_that_cannot_be_placed_is_refused(rows, span_s, reason):
    report = report_of(oru(rows, span_s=span_s))

    assert report.readings == ()
    assert [u.reason for u in report.unmapped] == [reason]


def test_a_rate_that_agrees_to_two_percent_is_only_a_check():
    wave = only(oru(eeg([1] * 128, rate=126)))

    assert wave.rate_hz == 128.0


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
@example([5e-324, 0.0])
@example([2.2e-308, -1e-306])
def test_numbers_that_are_no_int16_are_rescaled_and_stay_within_half_a_step(values):
    counts = np.array(values)

    samples, scale = fitted(counts, 1.0)

    assert samples.dtype == np.int16
    assert np.abs(samples * scale - counts).max() <= scale * 0.5001


def test_samples_beyond_what_an_eeg_can_be_are_kept_and_invalid():
    wave = only(oru(eeg([32000] * 128, resolution=0.1)))

    assert wave.status is Status.INVALID


def pump(channel: int, drug: str, *rows: str) -> list[str]:
    return [*rows, f"OBX|9|ST|184514^MDC_DRUG_NAME_LABEL^MDC|1.1.{channel}.184514|{drug}||||||R"]


def test_the_name_row_of_a_channel_turns_pump_rows_into_the_drugs_signals():
    rows = [
        *pump(1, "PROPOFOL", nm("158014^MDC_FLOW_FLUID_PUMP_CURRENT^MDC", 20, ML_H, channel="1.1.1.158014")),
        *pump(2, "Remifentanil", nm("157760^MDC_CONC_DRUG^MDC", 0.05, MG_ML, channel="1.1.2.157760")),
        *pump(3, "Propofol", nm("157760^MDC_CONC_DRUG^MDC", 10000, UG_ML, channel="1.1.3.157760")),
    ]

    report = report_of(oru(rows))

    assert [(r.signal, r.value) for r in report.readings] == [
        ("propofol_rate", 20.0),
        ("remifentanil_concentration", pytest.approx(50.0)),
        ("propofol_concentration", pytest.approx(10.0)),
    ]


@pytest.mark.parametrize("drug", ["Saline", ""])
def test_a_pump_row_without_a_known_drug_is_listed(drug):
    report = report_of(oru(pump(1, drug, nm("158014^MDC_FLOW_FLUID_PUMP_CURRENT^MDC", 20, ML_H, channel="1.1.1.158014"))))

    assert report.readings == ()
    assert report.unmapped[0].reason == "unknown_drug"


def test_bed_and_person_are_read_and_trailing_components_do_not_matter():
    report = report_of(oru([], bed="ICU^^5^^^", person="7^^^OTHER^PI~42^^^HOSP&1.2&ISO^MR"))

    assert (report.bed, report.person) == ("ICU^^5", ("42", "HOSP"))


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("second_msh_in_block.hl7", "several_headers"),
        ("second_msh_without_line_end.hl7", "several_headers"),
        ("msh_wrapped_over_two_lines.hl7", "bad_segment"),
        ("batch.hl7", "batch"),
        ("no_msh.hl7", "no_header"),
        ("delimiters_twice_the_same.hl7", "delimiters"),
        ("obr_7_is_no_time.hl7", "bad_time"),
        ("msh_7_is_a_day_of_another_month.hl7", "bad_time"),
    ],
)
def test_a_malformed_message_says_why_and_never_what_stood_there(name, code):
    with pytest.raises(BadMessage) as caught:
        report_of((CORPUS / name).read_bytes())

    assert caught.value.code == code
    assert "ZZCANARY" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "observed_at", "time_source"),
    [
        ("msh_7_is_a_date.hl7", START - timedelta(seconds=1), TimeSource.OBR_7),
        ("msh_7_ends_at_the_minute.hl7", RECEIVED, TimeSource.RECEIPT),
    ],
)
def test_a_creation_time_without_seconds_refuses_nothing_and_times_nothing(name, observed_at, time_source):
    reading = only((CORPUS / name).read_bytes())

    assert (reading.observed_at, reading.time_source) == (observed_at, time_source)


@pytest.mark.parametrize("ends", ["\r", "\n", "\r\n"])
def test_every_line_end_that_was_seen_is_read(ends):
    content = oru([nm(HEART_RATE, 72)]).replace(b"\r", ends.encode())

    assert only(content).value == 72.0


def test_a_line_feed_between_two_segments_loses_no_row():
    report = report_of((CORPUS / "lf_after_one_segment_only.hl7").read_bytes())

    assert [(r.signal, r.value) for r in report.readings] == [("spo2", 98.0), ("heart_rate", 72.0)]


def test_rows_that_only_name_the_device_are_not_listed_as_unknown():
    report = report_of((CORPUS / "containment_rows_without_value.hl7").read_bytes())

    assert ([r.value for r in report.readings], report.unmapped) == ([72.0], ())


def test_a_row_without_type_and_value_is_a_value_that_the_device_cannot_give():
    reading = only((CORPUS / "heart_rate_without_type_and_value.hl7").read_bytes())

    assert (reading.signal, reading.value, reading.status) == ("heart_rate", None, Status.UNAVAILABLE)


def test_other_delimiters_and_a_byte_order_mark_are_read():
    content = oru([nm(HEART_RATE, 72)]).decode().translate(str.maketrans("|^", "#*"))

    assert only(b"\xef\xbb\xbf" + content.encode()).value == 72.0


@pytest.mark.parametrize(
    ("text", "plain"), [("a\\F\\b", "a|b"), ("\\X4D\\", "M"), ("\\E\\", "\\"), ("\\Q\\", "\\Q\\"), ("a\\", "a\\"), ("\\XZZ\\", "\\XZZ\\")]
)
def test_escapes_are_decoded_and_unknown_ones_stay(text, plain):
    assert unescaped(text, header_of(oru([])).delimiters) == plain


def test_bytes_that_do_not_decode_never_harm_a_number():
    content = oru([nm(HEART_RATE, 72)]).replace(b"PID|||", b"PID|||\xe4\xff")

    assert only(content).value == 72.0


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_message_is_read_or_refused_and_never_breaks_the_reader(data):
    content = bytearray(oru([nm(HEART_RATE, 72), *eeg(range(16), rate=16)]))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))

    try:
        report = report_of(bytes(content))
    except BadMessage:
        return

    assert all(r.status is not Status.VALID or not isinstance(r, Numeric) or r.usable for r in report.readings)


@pytest.mark.skipif(not OUTSIDE_CORPUS.exists(), reason="the corpus of public messages is not on this machine")
def test_no_public_message_breaks_the_reader():
    files = sorted(OUTSIDE_CORPUS.rglob("*.hl7"))

    outcomes = []
    for path in files:
        try:
            outcomes.append(len(report_of(path.read_bytes().strip(b"\x0b\x1c\r\n")).readings))
        except BadMessage:
            outcomes.append(-1)

    assert len(outcomes) == len(files)
