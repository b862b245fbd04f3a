"""The input archive: which entries a case keeps, and a file that tells when it is not what was written."""

import io
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anesthesia.reading import Bed, Frame
from backbone.audit import StoredArchive
from backbone.redis.streams import Entry, key
from backbone.vault import Seal
from backbone.wire import heading_of, pack_entry, unpack_entry
from services.ledger.archive import CLOSED_AFTER_S, LEAD_IN_S, MARGIN_S, Archive, empty
from services.ledger.archive_file import (
    LENGTH,
    ArchivedEntry,
    BadArchive,
    Erased,
    begun,
    chained,
    entries_of,
    grown,
    new_wrapped,
    packed,
    seal_of,
    unpacked,
)
from services.ledger.archive_folder import ArchiveFolder, FolderInUse, fault_of, path_of
from tests.beds import BED, SECOND, at, eeg, frame, occupancy

VAULT = Seal(b"v" * 32)
CASE = UUID(int=7)
LATENCY_S = 10.0


def entry_of(second: float, body, place: int = 0) -> Entry:
    """A stream entry appended in a second after START."""
    fields = {b"f": pack_entry(body), b"s": b"%d" % int(second * 10), b"l": b"l:g", b"i": b"%d" % place}
    return Entry(key(3, "frames"), f"{int((SECOND + second) * 1000)}-{place}", fields)


def kept(number: int) -> ArchivedEntry:
    return ArchivedEntry(f"{1000 + number}-0", "l:g", number, 0, b"payload %d" % number)


def stored(case_id: UUID = CASE) -> StoredArchive:
    return StoredArchive(case_id, 3, BED, new_wrapped(VAULT, case_id), 0, 0, 0, begun(case_id), "", "")


def written(*chunks: list[ArchivedEntry], of: StoredArchive | None = None) -> tuple[StoredArchive, bytes]:
    """An archive of these chunks, and the bytes of its file."""
    now, data = of or stored(), b""
    seal = seal_of(VAULT, now)
    for entries in chunks:
        now, chunk = grown(now, entries, seal)
        data += chunk
    return now, data


def read(archive: StoredArchive, data: bytes) -> list[ArchivedEntry]:
    return list(entries_of(io.BytesIO(data), archive, seal_of(VAULT, archive)))


def chunks_in(data: bytes) -> list[bytes]:
    found, at_byte = [], 0
    while at_byte < len(data):
        end = at_byte + LENGTH.size + LENGTH.unpack_from(data, at_byte)[0]
        found.append(data[at_byte:end])
        at_byte = end
    return found


numbers = st.integers(0, 2**63 - 1)
texts = st.text(max_size=40)
anything = st.builds(
    ArchivedEntry, st.builds("{}-{}".format, numbers, numbers), texts, numbers, st.integers(0, 65_535), st.binary(max_size=400)
)


# ---- the file ----------------------------------------------------------------------------------------------------------------


@given(st.lists(anything, max_size=8))
def test_a_chunk_holds_what_was_put_in(entries):
    assert list(unpacked(packed(entries))) == entries


def test_a_file_gives_its_entries_in_order():
    archive, data = written([kept(1), kept(2)], [kept(3)])

    assert read(archive, data) == [kept(1), kept(2), kept(3)]
    assert (archive.chunks, archive.size, archive.entries) == (2, len(data), 3)
    assert (archive.first_entry, archive.last_entry) == ("1001-0", "1003-0")


def test_what_a_crash_left_behind_the_committed_bytes_is_not_read():
    archive, data = written([kept(1)], [kept(2)])

    assert read(archive, data + b"half a chunk") == [kept(1), kept(2)]


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_cut_file_is_found(cut):
    archive, data = written([kept(1)], [kept(2)])

    with pytest.raises(BadArchive, match="cut at chunk 1 of 2"):
        read(archive, data[:-cut])


def test_a_file_without_its_last_chunk_is_found():
    archive, data = written([kept(1)], [kept(2)])

    with pytest.raises(BadArchive, match="cut at chunk 1"):
        read(archive, chunks_in(data)[0])


@given(st.data())
def test_a_changed_bit_is_found(data_of):
    archive, data = written([kept(1)], [kept(2)])
    place = data_of.draw(st.integers(0, len(data) * 8 - 1))
    changed = bytearray(data)
    changed[place // 8] ^= 1 << place % 8

    with pytest.raises(BadArchive):
        read(archive, bytes(changed))


def test_chunks_in_another_order_are_found():
    archive, data = written([kept(1)], [kept(2)])

    with pytest.raises(BadArchive):
        read(archive, b"".join(reversed(chunks_in(data))))


def test_a_chunk_in_the_place_of_another_is_found_by_its_seal_too():
    archive, data = written([kept(1)], [kept(2)])
    first, second = chunks_in(data)
    swapped, _ = written(of=stored())
    for chunk in (second, first):  # whoever can write to the database can chain any chunks
        swapped = replace(swapped, chunks=swapped.chunks + 1, size=swapped.size + len(chunk), digest=chained(swapped.digest, chunk))
    swapped = replace(swapped, wrapped_key=archive.wrapped_key)

    with pytest.raises(BadArchive, match="chunk 0 is not the one sealed for this place"):
        read(swapped, second + first)


def test_the_file_of_another_case_does_not_open_even_under_the_same_key():
    other = UUID(int=8)
    archive, data = written([kept(1)])
    seal = seal_of(VAULT, archive)
    posed = replace(stored(other), chunks=1, size=len(data))
    posed = replace(posed, digest=chained(posed.digest, data))

    with pytest.raises(BadArchive, match="sealed for this place"):
        list(entries_of(io.BytesIO(data), posed, seal))


def test_a_case_whose_key_was_erased_says_so():
    archive, _ = written([kept(1)])

    with pytest.raises(Erased, match="its key was erased"):
        seal_of(VAULT, replace(archive, wrapped_key=None))


def test_the_clear_text_stands_nowhere_in_the_file():
    _, data = written([kept(1), kept(2)])

    assert b"payload" not in data


# ---- the folder --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    made = ArchiveFolder(tmp_path / "archive")
    made.lock()
    yield made
    made.unlock()


def appended(folder: ArchiveFolder, archive: StoredArchive, *entries: ArchivedEntry) -> StoredArchive:
    after, chunk = grown(archive, entries, seal_of(VAULT, archive))
    folder.append(archive, chunk)
    return after


def test_the_files_are_for_the_owner_alone(folder):
    archive = appended(folder, stored(), kept(1))

    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert path_of(folder.path, archive.case_id).stat().st_mode & 0o777 == 0o600


def test_bytes_that_were_never_committed_are_written_over(folder):
    first = appended(folder, stored(), kept(1))
    appended(folder, first, kept(2), kept(3), kept(4))  # and then the process died before its transaction
    second = appended(folder, first, kept(2))

    with path_of(folder.path, CASE).open("rb") as file:
        assert list(entries_of(file, second, seal_of(VAULT, second))) == [kept(1), kept(2)]
    assert path_of(folder.path, CASE).stat().st_size == second.size


def test_a_missing_or_a_short_file_is_not_gone_on_with(folder):
    archive = appended(folder, stored(), kept(1))
    path_of(folder.path, CASE).write_bytes(b"short")
    with pytest.raises(BadArchive, match="5 bytes of"):
        folder.append(archive, b"chunk")

    path_of(folder.path, CASE).unlink()
    with pytest.raises(BadArchive, match="missing"):
        folder.append(archive, b"chunk")


def test_the_audit_says_what_is_wrong_with_a_file_without_its_key(folder):
    archive = appended(folder, stored(), kept(1))
    assert fault_of(folder.path, archive) is None

    path = path_of(folder.path, CASE)
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    changed = fault_of(folder.path, archive)
    path.unlink()

    assert changed is not None
    assert "not the bytes that the ledger wrote" in changed
    assert "cannot be read" in (fault_of(folder.path, archive) or "")


def test_one_ledger_writes_in_a_folder(folder):
    with pytest.raises(FolderInUse):
        ArchiveFolder(folder.path).lock()


# ---- which entries -----------------------------------------------------------------------------------------------------------


def archive_with(*occupancies) -> Archive:
    made = Archive(LATENCY_S)
    for one in occupancies:
        archive = empty(one, 3, new_wrapped(VAULT, one.case_id))
        made.begin(archive, seal_of(VAULT, archive), one.end)
        made.know(one)
    return made


def take(archive: Archive, *entries: Entry) -> None:
    for one in entries:
        archive.take(one, heading_of(one.fields[b"f"]))


def in_buffer(archive: Archive) -> list[list[ArchivedEntry]]:
    return [list(entries) for _, _, entries in archive.flush(None).chunks]


def test_a_case_takes_the_entries_of_its_bed_alone():
    archive = archive_with(occupancy())
    take(archive, entry_of(1, frame(eeg(0), received=1)), entry_of(2, frame(eeg(1), received=2, bed=Bed("site", "OR 2"))))

    [entries] = in_buffer(archive)
    assert [unpack_entry(one.payload).bed for one in entries] == [BED]


def test_an_entry_that_the_archive_has_is_not_taken_again():
    archive = archive_with(occupancy())
    one = entry_of(1, frame(eeg(0), received=1))

    take(archive, one, one)

    assert [len(entries) for entries in in_buffer(archive)] == [1]


def test_what_was_received_long_after_the_end_belongs_to_the_next_patient():
    archive = archive_with(occupancy(end=60))
    in_time, late = 60 + LATENCY_S + MARGIN_S, 60 + LATENCY_S + MARGIN_S + 1
    take(
        archive,
        entry_of(late, frame(eeg(10), received=in_time)),  # held up on its way through the streams
        entry_of(late + 1, frame(eeg(200), received=late)),
    )

    [entries] = in_buffer(archive)
    assert [unpack_entry(one.payload).received_at for one in entries] == [at(in_time)]


def test_a_case_closes_when_nothing_can_come_any_more():
    archive = archive_with(occupancy(end=60))
    last = 60 + LATENCY_S + MARGIN_S + CLOSED_AFTER_S

    assert archive.flush(at(last)).closing == ()
    assert archive.flush(None).closing == ()  # not all was read yet
    assert archive.flush(at(last + 1)).closing == (occupancy().case_id,)


def test_an_occupancy_that_ended_long_ago_begins_no_archive():
    archive = Archive(LATENCY_S)

    assert archive.lacks(occupancy(end=60), at(600))
    assert not archive.lacks(occupancy(end=60), at(60 + LATENCY_S + MARGIN_S + CLOSED_AFTER_S + 1))
    assert not archive.lacks(occupancy(theatre=False), at(0))


def test_a_revised_end_holds_from_then_on():
    archive = archive_with(occupancy())
    take(archive, entry_of(70, occupancy(end=60)))

    take(archive, entry_of(400, frame(eeg(399), received=400)))

    [entries] = in_buffer(archive)
    assert [unpack_entry(one.payload).end for one in entries] == [at(60)]


def test_other_patients_of_the_bed_stand_before_the_first_entry():
    archive = Archive(LATENCY_S)
    lasting, before = occupancy(start=-9000, name="p0"), occupancy(start=-99_000, end=-9000, name="p00")
    for one in (lasting, before, occupancy()):
        archive.know(one)

    beside = archive.beside(occupancy(), at(0))

    assert [unpack_entry(one.payload) for one in beside] == [lasting]
    assert at(0) - timedelta(seconds=LEAD_IN_S) > at(-9000)


def test_what_is_written_waits_no_more_and_a_closed_case_goes():
    archive = archive_with(occupancy(end=60))
    take(archive, entry_of(1, frame(eeg(0), received=1)))
    assert archive.buffered > 0

    flush = archive.flush(at(9999))
    [(now, seal, entries)] = flush.chunks
    after, _ = grown(now, entries, seal)
    archive.flushed(archive.rows([after], flush.closing, at(9999)))

    assert archive.buffered == 0
    assert archive.open_cases() == 0


def test_a_heading_says_whose_a_frame_is_without_its_readings():
    made: Frame = frame(eeg(0), received=1.5)

    heading = heading_of(pack_entry(made))

    assert (heading.bed, heading.received_at) == (made.bed, made.received_at)
    assert heading_of(pack_entry(occupancy())) == occupancy()
