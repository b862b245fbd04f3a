"""ADT messages: who, which bed, when; and what is not known stays not known."""

import contextlib
from datetime import date, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from services.hl7_listener.adt import AdtEvent, EventKind, age_years, birth_date_of, event_kind_of, event_of
from services.hl7_listener.message import BadMessage, charset_of, header_of, message_of
from tests.messages import START, adt

CORPUS = Path(__file__).parents[1] / "corpora" / "hl7"
OUTSIDE_CORPUS = Path(__file__).parents[3] / "shared" / "corpus" / "hl7"
WEIGHT = "OBX|1|NM|29463-7^Body weight^LN||{}|{}|||||F"
HEIGHT = "OBX|2|NM|8302-2^Body height^LN||{}|{}|||||F"


def event(content: bytes, offset_s: float = 0.0) -> AdtEvent:
    header = header_of(content)
    kind = event_kind_of(header.message_type)
    assert kind is not None
    message = message_of(content, header, charset_of(header, "utf-8"))
    return event_of(message, kind, zone=ZoneInfo("UTC"), offset=timedelta(seconds=offset_s), received_at=START)


def test_an_admission_tells_person_bed_and_time():
    found = event(adt("A01", rows=[WEIGHT.format(70, "kg"), HEIGHT.format(168, "cm")]))

    assert (found.kind, found.bed, found.at) == (EventKind.ADMIT, "OR^^1", START)
    assert (found.person.identifier, found.person.authority) == ("ZZCANARYID", "SIMHOSP")
    assert (found.person.family, found.person.given, found.person.sex) == ("ZZCANARYFAMILY", "ZZCANARYGIVEN", "F")
    assert (found.person.weight_kg, found.person.height_cm) == (70.0, 168.0)
    assert found.person.covariates_at(date(2026, 11, 21)).age_years == 56


def test_a_transfer_tells_the_bed_that_was_left():
    found = event(adt("A02", bed="OR^^2", prior="OR^^1"))

    assert (found.kind, found.prior_bed, found.bed) == (EventKind.TRANSFER, "OR^^1", "OR^^2")


def test_times_are_moved_by_the_sources_offset():
    found = event(adt("A03", at=START - timedelta(minutes=5), told=START), offset_s=60)

    assert (found.at, found.message_at) == (START - timedelta(minutes=4), START + timedelta(minutes=1))


def test_an_event_that_is_told_by_dates_alone_happens_when_it_is_heard():
    found = event((CORPUS / "msh_7_and_evn_2_are_dates.hl7").read_bytes(), offset_s=60)

    assert (found.at, found.message_at) == (START, START)


def test_an_event_told_to_the_minute_happened_in_that_minute():
    found = event(adt("A01").replace(b"EVN|A01|20261121034500.000+0000", b"EVN|A01|202611210340+0000"))

    assert (found.at, found.message_at) == (START - timedelta(minutes=5), START)


@pytest.mark.parametrize("row", [WEIGHT.format(154, "[lb_av]"), WEIGHT.format(70, ""), WEIGHT.format(7000, "kg"), WEIGHT.format("x", "kg")])
def test_a_weight_in_another_unit_or_beyond_belief_is_not_known(row):
    assert event(adt("A01", rows=[row])).person.weight_kg is None


@pytest.mark.parametrize("text", ["", "00000000", "18991230", "1970", "19701340", "٢٠٢٠٠١٠١"])
def test_a_birth_date_that_is_none_is_not_known(text):
    assert birth_date_of(text) is None


def test_a_missing_birth_date_leaves_the_age_unknown():
    found = event((CORPUS / "birth_date_of_zeros.hl7").read_bytes())

    assert found.person.covariates_at(START.date()).age_years is None


@pytest.mark.parametrize(
    ("birth", "day", "years"),
    [
        (date(2008, 11, 21), date(2026, 11, 20), 17),
        (date(2008, 11, 21), date(2026, 11, 21), 18),
        (date(1890, 1, 1), date(2026, 11, 21), 120),
        (date(2027, 1, 1), date(2026, 11, 21), None),
        (None, date(2026, 11, 21), None),
    ],
)
def test_age_is_in_whole_years_on_the_day_of_the_event(birth, day, years):
    assert age_years(birth, day) == years


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ((CORPUS / "patient_id_missing.hl7").read_bytes(), "no_identifier"),
        (adt("A01", bed=""), "no_bed"),
        (adt("A01").replace(b"EVN|A01|2026", b"EVN|A01|ZZCANARY"), "bad_time"),
        (adt("A01").replace(b"ZZCANARYID", b"ZZCANARY\xff"), "charset"),
    ],
)
def test_an_event_that_cannot_be_placed_is_refused_without_patient_data(content, code):
    with pytest.raises(BadMessage) as caught:
        event(content)

    assert caught.value.code == code
    assert "ZZCANARY" not in str(caught.value)


@pytest.mark.parametrize("trigger", ["A04", "A08", "A11", "A40", ""])
def test_other_events_move_nobody(trigger):
    assert event_kind_of(f"ADT^{trigger}") is None


@pytest.mark.skipif(not OUTSIDE_CORPUS.exists(), reason="the corpus of public messages is not on this machine")
def test_no_public_message_breaks_the_reader():
    read = []
    for path in sorted(OUTSIDE_CORPUS.rglob("*.hl7")):
        content = path.read_bytes().strip(b"\x0b\x1c\r\n")
        with contextlib.suppress(BadMessage):
            header = header_of(content)
            message = message_of(content, header, charset_of(header, "utf-8"))
            read.append(event_of(message, EventKind.ADMIT, zone=ZoneInfo("UTC"), offset=timedelta(), received_at=START))

    assert len(read) > 100
