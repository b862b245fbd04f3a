"""Each device family's mapping over what such devices send: which readings come out, with the values that the message names.

The public messages lie outside of the repository; `SOPOR_CORPUS` names their folder (`test_corpus`). The rows of families of which no
public message was found are sent here one by one.
"""

import os
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from anesthesia.reading import Numeric, Status
from anesthesia.signal import SIGNALS
from services.hl7_listener.code_set import CodeSet, Key, Mismatch, Row, RowKind
from services.hl7_listener.mapping import read_mapping
from services.hl7_listener.message import charset_of, header_of, message_of
from services.hl7_listener.oru import Report, Sender, readings_of
from tests.messages import START, nm, oru

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "mappings"
PUBLIC = Path(os.environ.get("SOPOR_CORPUS", ROOT.parent / "shared" / "corpus")) / "hl7"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
ML_H = "265266^MDC_DIM_MILLI_L_PER_HR^MDC^mL/h^mL/h^UCUM"
RATE, DRUG_NAME = "158014^MDC_FLOW_FLUID_PUMP_CURRENT^MDC", "184514^MDC_DRUG_NAME_LABEL^MDC"

needs_corpus = pytest.mark.skipif(not PUBLIC.is_dir(), reason=f"the public messages are not on this machine ({PUBLIC}; SOPOR_CORPUS)")


def report_of(content: bytes, mapping: str) -> Report:
    header = header_of(content)
    sender = Sender(read_mapping(FOLDER, mapping), ZoneInfo("UTC"), timedelta(0), START)
    return readings_of(message_of(content, header, charset_of(header, "utf-8")), sender)


def values(report: Report) -> dict[str, float | None]:
    return {reading.signal: reading.value for reading in report.readings if isinstance(reading, Numeric)}


def reasons(report: Report) -> dict[str, str]:
    return {f"{row.code}^{row.name}": row.reason for row in report.unmapped}


@needs_corpus
@pytest.mark.parametrize(
    ("file", "mapping", "readings"),
    [
        (
            "device_ge/ge_vsp_b1x5.hl7",
            "ge_carescape",
            {"art_systolic": 112, "art_diastolic": 76, "art_mean": 95, "pulse_rate": 80, "heart_rate": 80},
        ),
        (
            "device_mindray/mindray_egateway_vitals.hl7",
            "mindray_egateway",
            {"spo2": 98, "pulse_rate": 65, "respiratory_rate": 17, "heart_rate": 66},
        ),
        ("device_pumps/bbraun_pcd01_sim.hl7", "bbraun_space", {"propofol_rate": 18.5, "propofol_volume": 12.3}),
        ("device_pumps/bbraun_spaceplus_r01.hl7", "bbraun_space", {}),
        (
            "ihe_pcd_tf/tf2_rev8_01.hl7",
            "philips_piic",
            {"nibp_systolic": 117, "nibp_diastolic": 82, "nibp_mean": 90, "heart_rate": 80, "respiratory_rate": 30, "spo2": 99},
        ),
        ("uclh_emap/199_hl7_test1.hl7", "capsule", {}),
        ("device_mindray/mindray_waveform.hl7", "mindray_egateway", {}),
    ],
)
def test_a_public_message_gives_its_own_values_by_the_mapping_of_its_family(file, mapping, readings):
    assert values(report_of((PUBLIC / file).read_bytes(), mapping)) == readings


@needs_corpus
def test_capsule_numbers_that_nobody_explained_are_listed_and_never_used():
    report = report_of((PUBLIC / "uclh_emap/199_hl7_test1.hl7").read_bytes(), "capsule")

    assert reasons(report) == dict.fromkeys(("52913^", "52921^", "4242^"), "unknown_code")


@needs_corpus
@pytest.mark.parametrize("mapping", NAMES)
def test_the_two_lies_of_public_simulators_become_no_value_under_any_mapping(mapping):
    gas = report_of((PUBLIC / "device_ge/ge_co2_wrong_codes.hl7").read_bytes(), mapping)
    pleth = report_of((PUBLIC / "device_mindray/mindray_egateway_waveform_v231.hl7").read_bytes(), mapping)

    assert (gas.readings, pleth.readings) == ((), ())
    assert {"150456^MDC_CO2_ET", "150457^MDC_CO2_INSP"} <= set(reasons(gas))
    assert "131330^MDC_PULS_OXIM_PLETH" in reasons(pleth)


@pytest.mark.parametrize("mapping", [name for name in NAMES if name not in {"capsule", "bbraun_space", "mindray_aseries"}])
def test_end_tidal_co2_under_the_number_of_spo2_is_a_disagreement_where_spo2_is_known(mapping):
    report = report_of(oru([nm("150456^MDC_CO2_ET^MDC", 35, "266016^MDC_DIM_MMHG^MDC")]), mapping)

    assert report.readings == ()
    assert reasons(report) == {"150456^MDC_CO2_ET": "disagreement"}


# ---- every row of every family -----------------------------------------------------------------------------------------------


def numeric_rows() -> list[tuple[str, Key, Row]]:
    sets: dict[str, CodeSet] = {name: read_mapping(FOLDER, name) for name in NAMES}
    return [
        (name, key, row) for name, codes in sets.items() for key, rows in codes.rows.items() for row in rows if row.kind is RowKind.NUMERIC
    ]


@pytest.mark.parametrize(("name", "key", "row"), numeric_rows())
def test_a_row_of_the_file_makes_the_reading_that_it_names(name, key, row):
    low, high = SIGNALS[row.signal].believable
    wanted = round((low + high) / 2, 3)
    sent = (wanted - row.offset) / row.scale

    report = report_of(oru([nm("^".join(key[:3]), repr(sent), key[3])]), name)

    assert report.unmapped == ()
    assert [(r.signal, r.value, r.status) for r in report.readings] == [(row.signal, pytest.approx(wanted), Status.VALID)]


# ---- pumps: which drug -------------------------------------------------------------------------------------------------------


def pump(*rows: str, order: str = "") -> Report:
    content = oru(rows, application="PAT_DEVICE_BBRAUN").replace(b"182777000^monitoring of patient^SCT", order.encode())
    return report_of(content, "bbraun_space")


def drug_name(label: str, channel: str = "1.1.1.7") -> str:
    return f"OBX|1|ST|{DRUG_NAME}|{channel}|{label}||||||R"


def test_the_name_row_of_the_channel_says_which_drug_runs():
    report = pump(nm(RATE, "18.50", ML_H, channel="1.1.1.2"), drug_name("Propofol"))

    assert values(report) == {"propofol_rate": 18.5}


def test_without_a_name_row_the_order_says_it():
    report = pump(nm(RATE, 4, ML_H, channel="1.1.1.2"), order="2222^Remifentanil")

    assert values(report) == {"remifentanil_rate": 4.0}


@pytest.mark.parametrize(
    ("label", "order"),
    [("Propofol", "2222^Remifentanil"), ("Dopamine", "2222^Propofol"), ("Dopamine", ""), ("", "999999^Unknown medication"), ("", "")],
)
def test_a_drug_that_is_not_known_or_named_twice_differently_is_no_drug(label, order):
    rows = [nm(RATE, 4, ML_H, channel="1.1.1.2"), *([drug_name(label)] if label else [])]

    report = pump(*rows, order=order)

    assert report.readings == ()
    assert set(reasons(report).values()) == {Mismatch.UNKNOWN_DRUG}


def test_a_rate_whose_two_units_disagree_is_no_rate():
    report = pump(nm(RATE, 4, ML_H.replace("mL/h^mL/h", "mL^mL"), channel="1.1.1.2"), drug_name("Propofol"))

    assert report.readings == ()
    assert reasons(report) == {"158014^MDC_FLOW_FLUID_PUMP_CURRENT": "disagreement"}


def test_a_dose_rate_by_weight_becomes_no_rate():
    by_weight = "265619^MDC_DIM_MICRO_G_PER_KG_PER_MIN^MDC^ug/kg/min^ug/kg/min^UCUM"

    report = pump(
        nm("157924^MDC_RATE_DOSE^MDC", 5, by_weight, channel="1.1.1.3"),
        nm(RATE, 5, by_weight, channel="1.1.1.2"),
        drug_name("Propofol"),
    )

    assert report.readings == ()
    assert reasons(report) == {"158014^MDC_FLOW_FLUID_PUMP_CURRENT": "disagreement"}
