"""Leaves and events: one spelling, and nothing that has two."""

import re
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anesthesia.errors import BadValue, BadWire
from anesthesia.leaf import LARGEST_INTEGER, Event, EventKind, canonical, event_of
from anesthesia.prediction import RefusalReason
from backbone.wire import pack_record
from services.ledger.leaves import intake_leaf, record_leaf
from services.ledger.records import row_of
from tests.records import case_of, eeg, refusal

AT = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
CASE = UUID("6a3f3c06-5a3c-4f0e-9a4b-0d9e5f0c7b11")
names = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True).filter(lambda name: name not in {"kind", "at", "actor", "case_id"})
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
scalars = texts | st.booleans() | st.integers(-LARGEST_INTEGER, LARGEST_INTEGER)


def test_the_page_names_every_kind_of_event_and_no_other():
    page = (Path(__file__).parents[2] / "docs" / "reference" / "audit.md").read_text()
    table = page.partition("| kind | actor |")[2].partition("\n\n")[0]

    named = [kind for row in table.splitlines()[2:] for kind in re.findall(r"`(\w+)`", row.split("|")[1])]

    assert sorted(named) == sorted(EventKind)


def test_an_event_of_a_kind_that_is_not_ours_is_read_all_the_same():
    old = Event("case_opened", AT, "web").encode()

    assert event_of(old).kind == "case_opened"
    assert event_of(Event(EventKind.WALL_OPENED, AT, "loopback").encode()).kind == EventKind.WALL_OPENED


def test_the_spelling_is_that_of_rfc_8785():
    assert canonical({"b": "\u20ac\n", "a": {"d": True, "c": -1}}) == '{"a":{"c":-1,"d":true},"b":"€\\n"}'.encode()


@given(st.dictionaries(names, scalars, max_size=5), st.none() | st.uuids())
def test_every_event_comes_back_from_its_bytes(about, case_id):
    event = Event("case_opened", AT, "web", case_id, about)

    assert event_of(event.encode()) == event


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        b'{"kind":"x","at":"2026-01-01T12:00:00.000000+00:00","actor":"web"}',  # not sorted
        b'{"actor":"web","at":"2026-01-01T12:00:00+00:00","kind":"x"}',  # another spelling of the instant
        b'{"actor":"web","at":"2026-01-01T12:00:00.000000+00:00","kind":"x","n":1.5}',
        b'{"actor":"web","at":"2026-01-01T12:00:00.000000+00:00","kind":"x","n":null}',
        b'{"actor":"web","at":"2026-01-01T12:00:00.000000+00:00","case_id":"4711","kind":"x"}',
        b'{"actor":"web","actor":"web","at":"2026-01-01T12:00:00.000000+00:00","kind":"x"}',
        b"[" * 5000,
    ],
)
def test_what_is_no_event_or_spelt_otherwise_is_refused(data):
    with pytest.raises(BadWire):
        event_of(data)


@pytest.mark.parametrize("about", [{"at": "x"}, {"Name": "x"}, {"n": 2**53}, {"n": 1.0}, {"n": "a\0"}, {"text": "x" * 5000}])
def test_an_event_that_has_no_one_spelling_cannot_be_made(about):
    with pytest.raises(BadValue):
        Event("viewed", AT, "web", CASE, about).encode()


def test_the_leaf_of_a_prediction_names_its_place_its_value_and_its_hashes():
    prediction = eeg("OR 1", 5)
    leaf = record_leaf(row_of(prediction, pack_record(prediction)))

    entry = leaf.entry(7, AT).decode()

    assert entry.startswith(f'{{"at":"2026-01-01T12:00:00.000000+00:00","case_id":"{case_of("OR 1")}","index":7,"input_hash":"{"00" * 32}"')
    assert '"value":"47.2"' in entry
    assert '"tier":"E"' in entry
    assert "reason" not in entry


def test_the_leaf_of_a_refusal_names_its_reason_and_no_value():
    refused = refusal("OR 1", 5, RefusalReason.CAUTERY)

    says = record_leaf(row_of(refused, pack_record(refused))).says

    assert says["reason"] == "cautery"
    assert not {"value", "tier", "model"} & says.keys()


def test_an_intake_that_is_no_event_is_named_by_its_hash_alone():
    says = intake_leaf(3, b"Jane Doe").says

    assert set(says) == {"kind", "source", "unreadable"}
    assert "Jane" not in str(says)
