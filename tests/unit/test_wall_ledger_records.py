"""The pure half of the ledger."""

from datetime import UTC, datetime

import pytest

from anesthesia.prediction import RefusalReason
from backbone.redis.streams import Entry
from backbone.wire import pack_record
from protos.depth.v1 import depth_pb2 as pb
from services.ledger.keeper import pause_s
from services.ledger.records import batch_of, oldest_kept
from tests.records import eeg, refusal

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def _entry(payload: bytes, entry_id: str = "5-0") -> Entry:
    return Entry("{p03}:predictions", entry_id, {b"r": payload})


def test_a_batch_ends_where_its_last_entry_stands() -> None:
    batch = batch_of([_entry(pack_record(eeg("OR 1", 5)), "5-0"), _entry(b"\xff", "5-1")])

    assert (len(batch.rows), len(batch.scraps), batch.positions) == (1, 1, {3: "5-1"})


def test_a_refusal_has_no_number_in_its_row() -> None:
    row = batch_of([_entry(pack_record(refusal("OR 1", 5, RefusalReason.NO_EEG)))]).rows[0]

    assert (row["outcome"], row["reason"], row["tier"], row["value"]) == ("refusal", "no_eeg", None, None)


@pytest.mark.parametrize("bed", ["OR\0 1", "OR 1"])
def test_what_postgresql_cannot_hold_is_kept_as_unreadable(bed: str) -> None:
    message = pb.Record.FromString(pack_record(eeg("OR 1", 5)))
    message.bed.name = bed
    message.evidence.complete_at_us = 2**62 if bed == "OR 1" else 0

    batch = batch_of([_entry(message.SerializeToString())])

    assert (len(batch.rows), len(batch.scraps)) == (0, 1)


def test_an_entry_without_the_field_is_unreadable() -> None:
    batch = batch_of([Entry("{p00}:predictions", "1-0", {b"x": b"y"})])

    assert [scrap["payload"] for scrap in batch.scraps] == [b""]


def test_only_what_is_recorded_and_old_may_go() -> None:
    now_ms = int(NOW.timestamp() * 1000)

    assert oldest_kept(f"{now_ms}-3", now=NOW, keep_minutes=15) == f"{now_ms - 900_000}-0"
    assert oldest_kept(f"{now_ms - 1_000_000}-3", now=NOW, keep_minutes=15) == f"{now_ms - 1_000_000}-3"


def test_the_pause_grows_and_ends_at_ten_seconds() -> None:
    assert [pause_s(n) for n in (1, 2, 3, 7, 500)] == [0.25, 0.5, 1.0, 10.0, 10.0]
