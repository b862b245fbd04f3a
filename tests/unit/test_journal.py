"""The journal: in order, sealed, carried over midnight, and dead after the first fault."""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from backbone.vault import Seal
from services.hl7_listener.code_set import Mismatch
from services.hl7_listener.day_file import day_paths, path_of
from services.hl7_listener.journal import Journal, JournalFailed, JournalInUse
from services.hl7_listener.journal_reader import JournalReader
from services.hl7_listener.oru import Unmapped
from services.hl7_listener.record import Commit, Effect, Kept, MessageRow, State

NOW = datetime(2026, 11, 21, 23, 59, tzinfo=UTC)
TOMORROW = NOW + timedelta(days=1)
SEAL = Seal(b"k" * 32)
CASE = UUID(int=7)


def commit(journal: Journal, n: int, *, at: datetime = NOW, state: State = State.ACCEPTED, partition: int = 3) -> Commit:
    content = f"ZZCANARY {n}".encode()
    digest = hashlib.sha256(content).digest()
    row = MessageRow(
        journal.next_sequence(), at, state, content, digest, b"identity %d" % n, "sim", f"M{n}", bed="OR 1", code="c", reason="r"
    )
    effects = (Effect(partition, None, b"frame %d" % n), Effect(15, CASE, b"occupancy %d" % n))
    unmapped = (Unmapped("1", "MDC", "X", "u", Mismatch.UNKNOWN_CODE),)
    return Commit(row, effects, (Kept("board", "OR 1", f"state {n}"),), unmapped, {"duplicates": 1})


async def written(folder, *numbers: int, at: datetime = NOW, **changes) -> Journal:
    journal = Journal(folder, SEAL)
    await asyncio.gather(*[journal.commit(commit(journal, n, at=at, **changes), at) for n in numbers])
    return journal


async def test_what_was_committed_is_read_again_in_order(tmp_path):
    journal = await written(tmp_path, *range(20))
    reader = JournalReader(tmp_path)

    effects = reader.after(-1, 1000)

    assert [e.sequence for e in effects] == [n for n in range(20) for _ in (0, 1)]
    assert [(e.partition, e.case_id, e.payload) for e in effects[:2]] == [(3, None, b"frame 0"), (15, CASE, b"occupancy 0")]
    assert [e.payload for e in reader.after(17, 1000, 15)] == [b"occupancy 18", b"occupancy 19"]
    assert (journal.committed, reader.last_sequence(), reader.waiting(17)) == (19, 19, 4)
    reader.close()
    await journal.close()


async def test_a_limited_read_never_splits_a_sequence(tmp_path):
    journal = await written(tmp_path, *range(5))
    reader = JournalReader(tmp_path)

    assert [e.sequence for e in reader.after(-1, 3)] == [0, 0, 1, 1]
    reader.close()
    await journal.close()


async def test_the_next_day_has_its_own_file_and_takes_over_what_must_outlive_the_day(tmp_path):
    journal = await written(tmp_path, 0, 1)
    await journal.commit(commit(journal, 2, at=TOMORROW), TOMORROW)
    await journal.commit(commit(journal, 3, at=NOW), NOW)
    reader = JournalReader(tmp_path)

    assert day_paths(tmp_path) == [path_of(tmp_path, NOW.date()), path_of(tmp_path, TOMORROW.date())]
    assert reader.kept("board") == {"OR 1": "state 3"}
    assert reader.counters() == {"duplicates": 4}
    assert reader.unmapped()[0][6] == 4
    assert reader.totals().traffic[0][:4] == ("sim", "OR 1", 4, 0)
    assert [e.sequence for e in reader.after(0, 1000, 3)] == [1, 2, 3]
    reader.close()
    await journal.close()


async def test_a_restart_goes_on_with_the_same_generation_and_the_next_sequence(tmp_path):
    first = await written(tmp_path, 0, 1)
    await first.close()

    second = await written(tmp_path, 2, at=TOMORROW)

    assert second.generation == first.generation
    assert second.committed == 2
    await second.close()


async def test_a_message_is_known_by_its_identity_for_as_long_as_asked_unless_it_was_refused(tmp_path):
    journal = await written(tmp_path, 0)
    await journal.commit(commit(journal, 1, state=State.REFUSED), NOW)
    reader = JournalReader(tmp_path)
    at_us = int(NOW.timestamp() * 1e6)

    assert reader.digest_of(b"identity 0", at_us) == hashlib.sha256(b"ZZCANARY 0").digest()
    assert reader.digest_of(b"identity 0", at_us + 1) is None
    assert reader.digest_of(b"identity 1", 0) is None
    assert [row[2:] for row in reader.quarantine(10)] == [("sim", "M1", "c", "r")]
    reader.close()
    await journal.close()


async def test_nothing_of_a_message_stands_in_the_files_in_clear(tmp_path):
    journal = await written(tmp_path, *range(10))
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    await journal.close()

    assert b"ZZCANARY" not in files


async def test_a_second_process_is_kept_out(tmp_path):
    journal = Journal(tmp_path, SEAL)

    with pytest.raises(JournalInUse, match="another process"):
        Journal(tmp_path, SEAL)
    await journal.close()


async def test_the_first_fault_fails_the_commit_and_the_journal_for_good(tmp_path):
    journal = await written(tmp_path, 0)
    double = commit(journal, 1)
    again = Commit(MessageRow(0, NOW, State.ACCEPTED))

    with pytest.raises(JournalFailed):
        await asyncio.gather(journal.commit(double, NOW), journal.commit(again, NOW))
    with pytest.raises(JournalFailed):
        await journal.failed()

    await journal.close()
