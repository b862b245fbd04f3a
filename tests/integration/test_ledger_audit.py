"""The audit against a real PostgreSQL: whatever is changed by hand is found, and named."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from anesthesia.leaf import Event
from anesthesia.merkle import leaf_hash, range_of, verify_inclusion
from anesthesia.occupancy import Occupancy
from anesthesia.prediction import RefusalReason
from anesthesia.reading import Bed
from backbone.audit import snapshot
from backbone.database import upgrade
from backbone.wire import pack_entry, pack_record
from cli.main import run
from services.ledger.book import Book
from services.ledger.checkpoint import KEPT, PUBLIC, Keep, checked
from services.ledger.records import Batch, row_of
from services.ledger.tree import BadLedger
from services.ledger.verify import Audit, Report
from tests.records import SITE, case_of, eeg, refusal

BEGAN = 1_790_000_000
NOW = datetime.fromtimestamp(BEGAN, UTC)
CASE = case_of("OR 1")
EVENT = Event("case_opened", NOW, "depth_scorer", CASE, {"phase": "induction", "count": 1})


def occupancy(bed: str = "OR 1", *, minutes: int | None = None) -> tuple[Occupancy, bytes]:
    end = None if minutes is None else NOW + timedelta(minutes=minutes)
    made = Occupancy(Bed(SITE, bed), case_of(bed), "ab" * 12, NOW, end, theatre=True, sealed_identity=b"sealed", simulated=True)
    return made, pack_entry(made)


def batch(*seconds: int) -> Batch:
    """Records of OR 1; each seventh second refused."""
    records = [refusal("OR 1", BEGAN + n, RefusalReason.CAUTERY) if n % 7 == 6 else eeg("OR 1", BEGAN + n, 40.0 + n / 10) for n in seconds]
    return Batch(rows=[row_of(one, pack_record(one)) for one in records], positions={3: f"{seconds[-1]}-0"} if seconds else {})


@pytest.fixture
def book(database_url: str, keep: Keep) -> Iterator[Book]:
    """A leading book over a log of 43 leaves: 40 records (indexes 0-9, 10-19, 22-31, 33-42), an Occupancy (20), events (21, 32)."""
    upgrade(database_url)
    made = Book(database_url)
    assert made.lead()
    made.take(keep)
    made.write(batch(*range(10)), NOW)
    made.sign(keep, NOW)
    second = batch(*range(10, 20))
    second.occupancies.append(occupancy())
    second.events.append(("p03:1-0", EVENT.encode()))
    made.write(second, NOW + timedelta(seconds=1))
    made.sign(keep, NOW)
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO audit_intake (entry) VALUES (%s)", (Event("viewed", NOW, "web").encode(),))
    made.write(batch(*range(20, 30)), NOW + timedelta(seconds=2))
    made.write(batch(*range(30, 40)), NOW + timedelta(seconds=3))
    made.sign(keep, NOW)
    yield made
    made.close()


@pytest.fixture
def audit(book: Book, database_url: str, keep: Keep) -> Callable[[], Report]:
    def audits() -> Report:
        with snapshot(database_url) as found:
            return Audit(found, keep.signer.key).run()

    return audits


@pytest.fixture
def change(book: Book, database_url: str) -> Callable[..., int]:
    """Changes the database by hand; returns how many rows."""

    def changes(query: str, *arguments: object) -> int:
        with psycopg.connect(database_url) as connection:
            return connection.execute(query.encode(), arguments).rowcount

    return changes


@pytest.fixture
def sopor(monkeypatch, capsys, database_url: str, tmp_path: Path):
    monkeypatch.setenv("SOPOR_DATABASE_URL", database_url)
    monkeypatch.setenv("SOPOR_STATE", str(tmp_path))

    def ended(*arguments: str):
        with pytest.raises(SystemExit) as end:
            run(["audit", *arguments])
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return ended


def test_a_log_that_nobody_touched_agrees(audit):
    report = audit()

    assert report.faults == []
    assert (report.leaves, report.records, report.checkpoints, report.newest_checkpoint) == (43, 40, 3, 43)


def test_a_record_written_again_has_one_leaf(book, audit):
    book.write(batch(5, 6, 40), NOW)

    report = audit()

    assert (report.leaves, report.records, report.faults) == (44, 41, [])


def test_an_occupancy_has_a_leaf_for_each_revision_and_one_when_it_comes_again(book, audit, change):
    book.write(Batch(occupancies=[occupancy()]), NOW)
    book.write(Batch(occupancies=[occupancy(minutes=5)]), NOW)
    book.write(Batch(occupancies=[occupancy(minutes=5)]), NOW)

    report = audit()

    assert (report.leaves, report.faults) == (44, [])
    assert change("SELECT 1 FROM identities WHERE ended_at = %s", NOW + timedelta(minutes=5)) == 1


def test_no_leaf_holds_an_identity(book, change):
    assert change("SELECT 1 FROM leaves WHERE position(%s::bytea in entry) > 0", b"sealed_identity") == 0
    assert change("SELECT 1 FROM leaves WHERE kind = 'occupancy' AND position(%s::bytea in entry) > 0", b'"sealed":"') == 1


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("UPDATE records SET value = 41.5 WHERE second = %s", "value"),
        ("UPDATE records SET low = 1 WHERE second = %s", "low"),
        ("UPDATE records SET bed = 'OR 2' WHERE second = %s", "bed"),
        ("UPDATE records SET payload = payload || '\\x00' WHERE second = %s", "record"),
        ("UPDATE records SET input_hash = '\\x01' WHERE second = %s", "input_hash"),
        ("DELETE FROM records WHERE second = %s", "not in the table"),
    ],
)
def test_a_changed_record_is_named(change, audit, query, words):
    assert change(query, BEGAN + 12) == 1

    report = audit()

    assert [(f.index, f.case_id, f.second) for f in report.faults] == [(12, CASE, BEGAN + 12)]
    assert words in report.faults[0].text


def test_a_changed_reason_is_named(change, audit):
    assert change("UPDATE records SET reason = 'no_eeg' WHERE second = %s", BEGAN + 6) == 1

    report = audit()

    assert [(f.index, f.text) for f in report.faults] == [(6, "record and leaf differ in: reason")]


def test_a_record_and_its_leaf_changed_together_are_found_by_the_root(change, audit):
    change("UPDATE records SET low = low - 1, payload = payload || '\\x00' WHERE second = %s", BEGAN + 12)
    change("UPDATE leaves SET entry = convert_to(replace(convert_from(entry, 'UTF8'), '41.2', '99.2'), 'UTF8') WHERE index = 12")
    change("UPDATE leaves SET leaf_hash = sha256('\\x00'::bytea || entry) WHERE index = 12")

    found = {fault.what for fault in audit().faults}

    assert found == {"record_differs", "root", "tree"}


def test_a_record_added_by_hand_is_named(change, audit):
    columns = "site, bed, simulated, outcome, tier, value, low, high, caveats, input_hash, payload"
    change(f"INSERT INTO records (case_id, second, {columns}) SELECT case_id, second + 1000, {columns} FROM records WHERE value = 41.2")

    report = audit()

    assert [(f.what, f.case_id, f.second) for f in report.faults] == [("record_added", CASE, BEGAN + 1012)]


def test_a_leaf_deleted_is_named_with_its_record(change, audit):
    change("DELETE FROM leaves WHERE index = 12")

    found = {(f.what, f.index, f.second) for f in audit().faults}

    assert ("leaf_missing", 12, None) in found
    assert ("record_added", None, BEGAN + 12) in found


def test_two_leaves_swapped_are_both_named(change, audit):
    for old, new in ((12, -1), (13, 12), (-1, 13)):
        change("UPDATE leaves SET index = %s WHERE index = %s", new, old)

    named = {f.index for f in audit().faults if f.what == "record_differs"}

    assert named == {12, 13}


def test_a_tail_cut_off_is_found_by_its_checkpoint(change, audit):
    change("DELETE FROM leaves WHERE index >= 33")
    change("DELETE FROM records WHERE second >= %s", BEGAN + 30)

    found = {f.what: f.text for f in audit().faults}

    assert "covers 43 leaves, 33 are there" in found["tail_missing"]
    assert "tree" in found


def test_a_checkpoint_of_another_key_is_found(change, audit, tmp_path):
    other = Keep(tmp_path / "other").signer
    note = other.sign(10, b"\1" * 32)
    change("UPDATE checkpoints SET note = %s WHERE size = 10", note)

    assert [f.index for f in audit().faults] == [10]


def test_a_changed_identity_and_a_changed_intake_are_named(change, audit):
    change("UPDATE identities SET sealed_identity = 'another'")
    change("UPDATE audit_intake SET entry = 'x'")

    faults = audit().faults

    assert [(f.what, f.index) for f in faults] == [("identity", 20), ("intake", 32)]
    assert faults[0].text == "identity and leaf differ in: sealed"


@pytest.fixture
def rolled_back(change: Callable[..., int], database_url: str, tmp_path: Path) -> Path:
    """The database as an older backup has it: it agrees with itself. Returns the newest checkpoint, kept elsewhere."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text((tmp_path / "keys" / KEPT).read_text())
    change("DELETE FROM leaves WHERE index >= 22")
    change("DELETE FROM records WHERE second >= %s", BEGAN + 20)
    change("DELETE FROM audit_intake")
    change("DELETE FROM checkpoints WHERE size > 22")
    with snapshot(database_url) as found:
        older = range_of(list(found.hashes(0, 22)))
    change("UPDATE tree SET size = 22, records = 20, roots = %s", b"".join(older.roots))
    return elsewhere


def test_an_older_backup_agrees_with_itself_but_not_with_a_checkpoint_kept_elsewhere(rolled_back, sopor):
    alone = sopor("verify")
    code, out, _ = sopor("verify", "--against", str(rolled_back), "--json")

    assert alone[0] == 0
    assert code == 7
    assert json.loads(out)["first_faults"][0]["what"] == "against"


def test_the_ledger_does_not_write_to_an_older_backup(rolled_back, book, keep, database_url):
    book.close()
    again = Book(database_url)

    with pytest.raises(BadLedger, match="older backup"):
        again.take(keep)

    again.close()


def test_the_ledger_does_not_write_where_records_have_no_leaf(book, change, database_url, keep):
    change("DELETE FROM leaves")
    change("UPDATE tree SET size = 0, records = 0, roots = ''")
    change("DELETE FROM checkpoints")
    book.close()
    again = Book(database_url)

    with pytest.raises(BadLedger, match="more records than the 0 that have a leaf"):
        again.take(keep)

    again.close()


def test_the_command_names_the_row_and_ends_with_7(change, sopor):
    change("UPDATE records SET value = 41.5 WHERE second = %s", BEGAN + 12)

    code, out, err = sopor("verify")

    assert code == 7
    assert str(CASE) in out
    assert str(BEGAN + 12) in out
    assert "1 fault" in err


def test_the_command_says_what_agrees(book, sopor):
    code, out, _ = sopor("verify", "--json")

    said = json.loads(out)
    assert (code, said["ok"], said["leaves"], said["covered"]) == (0, True, 43, 43)


def test_a_leaf_is_shown_with_a_proof_that_holds(book, sopor, keep):
    code, out, _ = sopor("show", "--index", "12", "--proof", "--json")

    said = json.loads(out)
    root = checked(said["checkpoint"], keep.signer.key).checkpoint.root
    proof = [bytes.fromhex(one) for one in said["proof"]]
    assert code == 0
    assert verify_inclusion(leaf_hash(said["entry"].encode()), 12, 43, proof, root)


def test_the_leaves_of_a_case_are_shown(book, sopor):
    code, out, _ = sopor("show", "--case", str(CASE), "--json")

    shown = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert {one["kind"] for one in shown} == {"record", "occupancy", "event"}
    assert len(shown) == 42


def test_whoever_looks_at_a_case_has_a_leaf(book, sopor, audit, change):
    sopor("show", "--case", str(CASE))
    book.write(Batch(), NOW)

    report = audit()

    assert (report.leaves, report.faults) == (44, [])
    assert change("SELECT 1 FROM leaves WHERE index = 43 AND case_id = %s AND position(%s::bytea in entry) > 0", CASE, b"operator:") == 1


def test_an_export_is_checked_with_nothing_but_python(book, sopor, tmp_path):
    file = tmp_path / "log.txt"
    assert sopor("export", str(file))[0] == 0
    spoilt = tmp_path / "spoilt.txt"
    spoilt.write_text(file.read_text().replace('"value":"41.2"', '"value":"41.3"'))

    whole, changed = (check(one, tmp_path / "keys" / PUBLIC) for one in (file, spoilt))

    assert whole.returncode == 0, whole.stdout + whole.stderr
    assert "43 leaves" in whole.stdout
    assert changed.returncode == 7


def check(file: Path, key: Path) -> "subprocess.CompletedProcess[str]":
    script = Path(__file__).parents[2] / "deploy" / "verify_audit.py"
    return subprocess.run(
        [sys.executable, "-I", "-S", str(script), str(file), "--key", str(key)], capture_output=True, text=True, check=False
    )


def test_an_intake_that_is_no_event_has_a_leaf_that_says_so(book, change, audit):
    change("INSERT INTO audit_intake (entry) VALUES ('no event')")
    book.write(Batch(), NOW)

    report = audit()

    assert (report.leaves, report.faults) == (44, [])
