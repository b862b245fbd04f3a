"""The simulator's own HL7 writer, byte by byte against the dialects page."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from services.device_simulator import hl7
from services.device_simulator.dialect import Dialect, Measured, PumpReport, eeg_rows, numeric_rows, pump_rows

AT = datetime(2026, 11, 21, 3, 45, 0, 123456, tzinfo=UTC)
SUBJECT = hl7.Subject("SIM1", "ZZSIMA|B", "Ann", date(1946, 6, 30), "F")
HEAD = hl7.Head("SIM_MINDRAY", "run-1", AT, ("NE", "AL"))


def segments(payload: bytes) -> list[str]:
    return payload.decode().split("\r")


def test_the_head_marks_every_message_as_training():
    message = hl7.observation(HEAD, SUBJECT, "OR^^1", (AT, AT), [])

    fields = segments(message)[0].split("|")
    assert fields[6] == "20261121034500.123+0000"
    assert fields[8:18] == ["ORU^R01^ORU_R01", "run-1", "T", "2.6", "", "", "NE", "AL", "", "UNICODE UTF-8"]


def test_an_observation_tells_its_interval_in_whole_seconds():
    start = AT.replace(microsecond=0)

    message = hl7.observation(HEAD, SUBJECT, "OR^^1", (start, start + timedelta(seconds=1)), [])

    assert segments(message)[3] == "OBR|1|||182777000^monitoring of patient^SCT|||20261121034500+0000|20261121034501+0000"


def test_delimiters_in_a_name_are_escaped():
    message = hl7.admission(HEAD, SUBJECT, "OR^^1", AT, (58, 159))

    assert segments(message)[2] == "PID|||SIM1^^^SIMHOSP^MR||ZZSIMA\\F\\B^Ann||19460630|F"
    assert segments(message)[5] == "OBX|2|NM|8302-2^Body height^LN||159|cm|||||R"


def test_a_transfer_names_both_beds():
    message = hl7.transfer(HEAD, SUBJECT, ("OR^^1", "OR^^7"), AT)

    assert segments(message)[3] == "PV1||I|OR^^7|||OR^^1"
    assert "|ADT^A02^ADT_A02|" in segments(message)[0]


def test_a_value_that_the_device_has_not_is_not_available():
    rows = numeric_rows(Dialect.MINDRAY, [Measured("bis", None)])

    obx = segments(hl7.observation(HEAD, SUBJECT, "OR^^1", (AT, AT), rows))[4].split("|")
    assert (obx[5], obx[8], obx[11]) == ("", "NAV", "X")


def test_an_episodic_value_carries_its_own_time():
    rows = numeric_rows(Dialect.PHILIPS, [Measured("nibp_mean", 72.4, AT)])

    obx = segments(hl7.observation(HEAD, SUBJECT, "OR^^1", (AT, AT), rows))[4].split("|")
    assert obx[3] == "150023^MDC_PRESS_BLD_NONINV_MEAN^MDC"
    assert (obx[5], obx[14]) == ("72", "20261121034500+0000")


def test_each_eeg_channel_has_counts_rate_and_resolution():
    counts = np.array([[1, -2, 3], [4, 5, -6]], dtype=np.int16)

    rows = eeg_rows(counts, 128.0, 0.9765625)

    assert [row.channel for row in rows] == [
        "1.3.1.153900", "1.3.1.153900.1", "1.3.1.153900.2", "1.3.2.153900", "1.3.2.153900.1", "1.3.2.153900.2",
    ]  # fmt: skip
    assert [row.value for row in rows[:3]] == ["1^-2^3", "128", "0.9765625"]


def test_a_pump_channel_tells_drug_concentration_rate_volume_and_bolus():
    report = PumpReport("remifentanil", 20.0, micrograms=True, rate_ml_h=22.0, volume_ml=7.614, bolus=Measured("bolus", 2.0, AT))

    rows = pump_rows([report])

    assert [row.value for row in rows] == ["Remifentanil", "20", "22.0", "7.61", "2"]
    assert rows[1].unit == "264307^MDC_DIM_MICRO_G_PER_ML^99SOPOR"
    assert rows[4].at == AT


def test_the_code_of_an_acknowledgement_is_read():
    answer = b"\x0bMSH|^~\\&|X\rMSA|AA|run-1\r\x1c\r"

    assert hl7.ack_of(answer, "run-1") == "AA"


@pytest.mark.parametrize("answer", [b"\x0bMSH|^~\\&|X\r\x1c\r", b"\x0bMSH|^~\\&|X\rMSA|AA|run-2\r\x1c\r", b"\x0bMSA|AA\r\x1c\r"])
def test_the_acknowledgement_of_another_message_is_none(answer):
    with pytest.raises(hl7.BadAck):
        hl7.ack_of(answer, "run-1")
