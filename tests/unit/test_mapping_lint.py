"""What a mapping file cannot mean is told with its line, before any message is read with it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anesthesia.signal import SIGNALS, CodeStatus
from services.hl7_listener.code_set import Mismatch, RowKind
from services.hl7_listener.conversion import conversion_of
from services.hl7_listener.mapping import BadMapping, file_of, parse_mapping, read_mapping
from services.hl7_listener.mapping_lint import is_private

FOLDER = Path(__file__).parents[2] / "deploy" / "mappings"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
CODES = {name: read_mapping(FOLDER, name) for name in NAMES}
UNITS = sorted({unit for codes in CODES.values() for unit in codes.units} | {key[3] for codes in CODES.values() for key in codes.rows})
VALUES = {RowKind.NUMERIC, RowKind.WAVEFORM, RowKind.PUMP}
ROWS = [(name, key, row) for name, codes in CODES.items() for key, rows in codes.rows.items() for row in rows if row.kind in VALUES]
HEAD = """about: a test
units:
  "1^F^MDC": "[degF]"
  "2^C^MDC": Cel
  "3^K^MDC": kPa
  "4^W^MDC": ug/kg/min
  "5^P^MDC": "%"
  "6^V^MDC": mV
"""
TEMPERATURE = "  - {signal: temperature, code: 1^A^MDC, unit: 2^C^MDC}\n"


def faults(text: str) -> str:
    with pytest.raises(BadMapping) as found:
        parse_mapping((HEAD + text).encode(), "test.yaml")
    return str(found.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("numerics:\n  - {signal: pulse, code: 1^A^MDC, unit: 2^C^MDC}", "10: numerics row 1 (pulse): 'pulse' is no numeric signal"),
        ("numerics:\n  - {signal: eeg_1, code: 1^A^MDC, unit: 2^C^MDC}", "10: numerics row 1 (eeg_1): 'eeg_1' is no numeric signal"),
        ("numerics:\n" + TEMPERATURE.replace("A^", ""), "10: numerics row 1 (temperature): code: Value error, must be code^NAME^system"),
        ("numerics:\n" + TEMPERATURE.replace("2^C", "9^Q"), "10: numerics row 1 (temperature): unit: unit '9^Q^MDC' does not stand"),
        ("numerics:\n" + 2 * TEMPERATURE, "11: numerics row 2 (temperature): 1^A^MDC with this unit stands twice"),
        ("numerics:\n" + TEMPERATURE.replace("}", ", colour: red}"), "10: numerics row 1 (temperature): colour: Extra inputs are not"),
        ("surprise: 1", "9: surprise: Extra inputs are not permitted"),
        ("waveforms:\n  - {signal: eeg_1, code: 1^A^MDC, unit: 2^C^MDC, channel: '('}", "10: waveforms row 1 (eeg_1): channel: "),
        ("drugs:\n  Milk: milk", "10: drugs.Milk: 'milk' is none of propofol"),
        ("drugs:\n  Ketamin: ketamine\n  KETAMIN: propofol", "11: drugs.KETAMIN: 'KETAMIN' is ketamine in another line"),
        ("drugs:\n  Milk: propofol\n  Milk: ketamine", "11: 'Milk' stands twice; only the last would count"),
        ("pump:\n  - {quantity: rate, code: 1^A^MDC, unit: 2^C^MDC, drugs: [milk]}", "10: pump row 1 (rate): drugs: 'milk' is none"),
        ("passed_over:\n  - {code: 1^A^MDC, scale: 2}", "10: passed_over row 1 (1^A^MDC): passed_over becomes no value"),
        ("numerics: [", "9: no valid YAML"),
    ],
)
def test_a_wrong_file_says_in_which_line_and_why(text, said):
    assert f"test.yaml:{said}" in faults(text)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("signal: temperature, code: 1^A^MDC, unit: 1^F^MDC", "it takes scale: 0.5555555556, offset: -17.77777778"),
        ("signal: temperature, code: 1^A^MDC, unit: 2^C^MDC, scale: 10", "Cel is not Cel (temperature) by this scale"),
        ("signal: etco2, code: 1^A^MDC, unit: 3^K^MDC, scale: 7.6", "it takes scale: 7.500616827"),
        ("signal: etco2, code: 1^A^MDC, unit: 5^P^MDC, scale: 0.5", "it takes a scale from 4.1 to 8"),
        ("signal: nibp_mean, code: 1^A^MDC, unit: 5^P^MDC, scale: 7.6", "% is not convertible to mm[Hg] (nibp_mean)"),
        ("signal: propofol_rate, code: 1^A^MDC, unit: 4^W^MDC, scale: 42", "ug/kg/min is not convertible to mL/h"),
        ("signal: spo2, code: 1^A^MDC, unit: 2^C^MDC, scale: 1", "Cel is not convertible to %"),
    ],
)
def test_a_conversion_is_the_known_one_or_none(row, said):
    assert said in faults(f"numerics:\n  - {{{row}}}")


def test_the_unit_of_a_count_is_checked_as_that_of_a_value():
    said = faults("resolution:\n  - {code: 1^A^MDC, unit: 6^V^MDC}\nrate:\n  - {code: 2^B^MDC, unit: 2^C^MDC}")

    assert "mV is not uV (eeg_1) by this scale and offset; it takes scale: 1000" in said
    assert "Cel is not convertible to Hz (rate)" in said


def test_a_waveform_is_converted_once_by_the_row_of_its_resolution():
    row = "waveforms:\n  - {signal: eeg_1, code: 1^A^MDC, unit: 6^V^MDC, scale: 1000}"

    assert "10: waveforms row 1 (eeg_1): a count becomes a value by the row of its resolution" in faults(row)
    assert parse_mapping((HEAD + row.replace(", scale: 1000", "")).encode(), "test.yaml")


def test_end_tidal_co2_cannot_be_mapped_under_the_number_of_spo2():
    spo2 = "  - {signal: spo2, code: 150456^MDC_PULS_OXIM_SAT_O2^MDC, unit: 5^P^MDC}\n"
    etco2 = "  - {signal: etco2, code: 150456^MDC_CO2_ET^MDC, unit: 3^K^MDC, scale: 7.500616827}\n"

    assert "test.yaml:11: numerics row 2 (etco2): 150456 of MDC means spo2 in another row, and here etco2" in faults(
        f"numerics:\n{spo2}{etco2}"
    )


def test_a_pleth_cannot_be_mapped_under_the_number_of_ecg_ii():
    eeg = "waveforms:\n  - {signal: eeg_1, code: 131330^MDC_PULS_OXIM_PLETH^MDC, unit: 6^V^MDC}\n"

    assert "131330 of MDC means eeg_1 in another row, and here passed_over" in faults(
        f"{eeg}passed_over:\n  - {{code: 131330^MDC_ECG_ELEC_POTL_II^MDC, unit: 6^V^MDC}}"
    )


def test_one_name_under_two_numbers_means_one_thing():
    assert "A of MDC means temperature in another row, and here bis" in faults(
        "numerics:\n" + TEMPERATURE + "  - {signal: bis, code: 2^A^MDC, unit: 2^C^MDC}"
    )


@pytest.mark.parametrize("code", ["120^MNDRY_BIS^99MNDRY", "192590^NOM_BIS^MDC", "27^^"])
def test_a_private_code_says_that_it_is_one(code):
    row = f"passed_over:\n  - {{code: {code}}}"

    assert f"{code} is a code of no standard: give code_status" in faults(row)
    assert parse_mapping((HEAD + row.replace("}", ", code_status: vendor}")).encode(), "test.yaml")


def test_a_code_of_a_public_system_is_no_private_one():
    assert parse_mapping((HEAD + "passed_over:\n  - {code: 8867-4^Heart rate^LN}").encode(), "test.yaml")


def test_all_faults_of_a_file_are_told_at_once():
    said = faults("numerics:\n" + TEMPERATURE.replace("2^C", "9^Q") + TEMPERATURE.replace("temperature", "pulse").replace("1^A", "2^B"))

    assert [line.split(":")[1] for line in said.splitlines()] == ["10", "11"]


# ---- the files that come with Sopor ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_private_code_of_a_shipped_file_has_its_status(name):
    entries = list(file_of((FOLDER / f"{name}.yaml").read_bytes(), name).entries())

    assert {coded.code for _, coded, _ in entries if is_private(coded)} == {
        coded.code for _, coded, _ in entries if coded.code_status is not CodeStatus.STANDARD
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_row_converts_into_the_unit_of_its_signal(name):
    file = file_of((FOLDER / f"{name}.yaml").read_bytes(), name)

    for row in file.numerics:
        conversion = conversion_of(file.units[row.unit], SIGNALS[row.signal])
        assert conversion is not None
        assert conversion.is_done_by(row.scale, row.offset)


@given(st.sampled_from(ROWS), st.sampled_from(UNITS) | st.text(max_size=30))
def test_a_row_takes_no_value_in_a_unit_that_no_row_names(found, unit):
    name, (number, code_name, system, _), _ = found
    codes = CODES[name]
    named = {key[3] for key in codes.rows if key[:3] == (number, code_name, system)}

    taken = codes.row_of((number, code_name, system, unit), "1.3.1.153900")

    assert isinstance(taken, Mismatch) != (unit in named)


@given(st.sampled_from(ROWS), st.sampled_from(UNITS))
def test_a_row_takes_no_value_whose_two_units_disagree(found, second):
    name, key, _ = found
    codes = CODES[name]

    taken = codes.row_of(key, "1.3.1.153900", second)

    same = second not in codes.units or codes.units[second] == codes.units[key[3]]
    assert same or taken is Mismatch.DISAGREEMENT


@given(st.sampled_from(ROWS), st.integers(0, 2), st.sampled_from(ROWS))
def test_a_row_takes_no_value_with_another_part_of_its_code(found, part, other):
    name, key, row = found
    changed = tuple(other[1][at] if at == part else key[at] for at in range(4))
    codes = CODES[name]

    taken = codes.row_of(changed, "1.3.1.153900")

    assert changed in codes.rows or isinstance(taken, Mismatch), row
