"""Mapping files: code, coding system, name and unit agree, or nothing is mapped."""

from pathlib import Path

import pytest

from services.hl7_listener.code_set import Mismatch, RowKind, clear
from services.hl7_listener.mapping import BadMapping, parse_mapping, read_mapping

FOLDER = Path(__file__).parents[2] / "deploy" / "mappings"
PERCENT = "262688^MDC_DIM_PERCENT^MDC"
MMHG = "266016^MDC_DIM_MMHG^MDC"
MINDRAY, PHILIPS, BBRAUN, CAPSULE = (read_mapping(FOLDER, name) for name in ("mindray_egateway", "philips_piic", "bbraun_space", "capsule"))
HEAD = 'about: a test\nunits:\n  "1^F^X": "[degF]"\n  "2^C^X": Cel\n'


def test_all_four_together_are_a_signal():
    row = MINDRAY.row_of(("150456", "MDC_PULS_OXIM_SAT_O2", "MDC", PERCENT), "1.3.1.150456")

    assert (row.kind, row.signal) == (RowKind.NUMERIC, "spo2")


def test_end_tidal_co2_under_the_number_of_spo2_is_a_disagreement():
    found = MINDRAY.row_of(("150456", "MDC_CO2_ET", "MDC", MMHG), "1.1.1.150456")

    assert found is Mismatch.DISAGREEMENT


def test_a_pleth_under_the_number_of_ecg_ii_is_a_disagreement():
    found = PHILIPS.row_of(("131330", "MDC_PULS_OXIM_PLETH", "MDC", "262656^MDC_DIM_DIMLESS^MDC"), "1.1.1.131330")

    assert found is Mismatch.DISAGREEMENT


@pytest.mark.parametrize(
    "key",
    [
        ("150456", "MDC_PULS_OXIM_SAT_O2", "MDC", MMHG),
        ("150456", "MDC_PULS_OXIM_SAT_O2", "99X", PERCENT),
        ("150456", "", "MDC", PERCENT),
        ("999999", "MDC_PULS_OXIM_SAT_O2", "MDC", PERCENT),
        ("MDC_PULS_OXIM_SAT_O2", "150456", "MDC", PERCENT),
    ],
)
def test_one_part_that_differs_is_enough(key):
    assert isinstance(MINDRAY.row_of(key, "1.1.1.1"), Mismatch)


def test_a_code_that_is_not_known_at_all_is_unknown():
    assert MINDRAY.row_of(("0", "MDC_ATTR_OF_ELSEWHERE", "MDC", ""), "1") is Mismatch.UNKNOWN_CODE


def test_the_eeg_channel_comes_from_obx_4():
    key = ("153900", "MDC_EEG_ELEC_POTL_CRTX", "MDC", "266419^MDC_DIM_MICRO_VOLT^MDC")

    signals = [MINDRAY.row_of(key, f"1.3.{channel}.153900").signal for channel in (1, 2)]

    assert signals == ["eeg_1", "eeg_2"]
    assert MINDRAY.row_of(key, "1.3.3.153900") is Mismatch.DISAGREEMENT


def test_the_files_of_the_simulated_dialects_know_the_same_signals_of_a_room_with_eeg():
    signals = [{row.signal for rows in codes.rows.values() for row in rows} for codes in (MINDRAY, PHILIPS)]

    assert signals[1] <= signals[0]
    assert len({MINDRAY.digest, PHILIPS.digest}) == 2


def test_a_conversion_needs_a_row_that_says_so():
    text = HEAD + "numerics:\n  - {signal: temperature, code: 1^A^MDC, unit: 1^F^X, scale: 0.5555555555555556, offset: -17.77777777777778}"

    row = parse_mapping(text.encode(), "test.yaml").row_of(("1", "A", "MDC", "1^F^X"), "")

    assert 98.6 * row.scale + row.offset == pytest.approx(37.0)


def test_an_alternate_unit_has_to_mean_the_same_one():
    key = ("158014", "MDC_FLOW_FLUID_PUMP_CURRENT", "MDC", "265266^MDC_DIM_MILLI_L_PER_HR^MDC")

    found = [BBRAUN.row_of(key, "1.1.1.2", second) for second in ("", "mL/h^mL/h^UCUM", "ml pro h^^L", "mL^mL^UCUM")]

    assert [row if isinstance(row, Mismatch) else row.signal for row in found] == ["rate", "rate", "rate", Mismatch.DISAGREEMENT]


def test_a_number_without_name_and_system_is_matched_as_it_is():
    found = [CAPSULE.row_of((number, "", "", ""), "") for number in ("27", "4242")]

    assert found[0].kind is RowKind.PASSED_OVER
    assert found[1] is Mismatch.UNKNOWN_CODE
    assert CAPSULE.row_of(("27", "MDC_ECG_HEART_RATE", "MDC", ""), "") is Mismatch.DISAGREEMENT


def test_what_is_text_and_no_code_stays_out_of_lists_and_journal():
    unit = "265266^MDC_DIM_MILLI_L_PER_HR^MDC"

    assert clear(("158014", "MDC_FLOW_FLUID_PUMP_CURRENT", "MDC", unit)) == ("158014", "MDC_FLOW_FLUID_PUMP_CURRENT", "MDC", unit)
    assert clear(("8867-4", "Heart rate of John Smith", "LN", "{beats}/min^{beats}/min^UCUM")) == (
        "8867-4",
        "",
        "LN",
        "{beats}/min^{beats}/min^UCUM",
    )
    assert clear(("see John Smith", "SMITH^JOHN", "Ward 3", "per hour")) == ("", "", "", "")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadMapping, match=r"nothing\.yaml: No such file"):
        read_mapping(tmp_path, "nothing")
