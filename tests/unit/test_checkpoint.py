"""Checkpoints: the text of C2SP, and signatures that hold for one key and one text."""

import base64
import stat

import pytest

from anesthesia.checkpoint import BadCheckpoint, Checkpoint, VerifierKey, note_of, verifier_key_of
from anesthesia.errors import BadValue
from backbone.vault import BadKey
from services.ledger.checkpoint import KEPT, PRIVATE, PUBLIC, Keep, Signer, checked, public_key

ROOT = bytes(range(32))
SIGNER = Signer(b"\7" * 32)
# The key of the Go module proxy's checksum database, as its documentation prints it: a verifier key made elsewhere.
SUMDB = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"


def test_a_verifier_key_made_elsewhere_is_read_and_written_the_same():
    key = verifier_key_of(SUMDB)

    assert key.name == "sum.golang.org"
    assert key.text() == SUMDB


def test_the_text_is_three_lines():
    assert Checkpoint("sopor/audit/1", 5, ROOT).text() == f"sopor/audit/1\n5\n{base64.b64encode(ROOT).decode()}\n"


def test_a_signed_checkpoint_comes_back():
    note = checked(SIGNER.sign(5, ROOT), SIGNER.key)

    assert note.checkpoint == Checkpoint(SIGNER.key.name, 5, ROOT)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\n5\n", "\n6\n"),
        ("\n5\n", "\n05\n"),
        ("AAEC", "AAED"),
        ("\n\n", "\nmore\n\n"),
        ("sopor/", "other/"),
        ("— ", "- "),
        ("\n5\n", "\n-5\n"),
    ],
)
def test_a_changed_checkpoint_is_refused(old, new):
    text = SIGNER.sign(5, ROOT)

    with pytest.raises(BadCheckpoint):
        checked(text.replace(old, new, 1), SIGNER.key)


def test_a_checkpoint_of_another_key_under_the_same_name_is_refused():
    other = Signer(b"\x08" * 32)
    posing = VerifierKey(SIGNER.key.name, other.key.public)

    with pytest.raises(BadCheckpoint, match="not signed by this key"):
        checked(SIGNER.sign(5, ROOT), posing)


@pytest.mark.parametrize("text", ["", "x", SUMDB.replace("033d", "033e"), SUMDB[:-4], "name+00000000+AAAA"])
def test_what_is_no_verifier_key_is_refused(text):
    with pytest.raises(BadCheckpoint):
        verifier_key_of(text)


@pytest.mark.parametrize("text", ["", "\n\n", "a\n1\n\n", "a\n1\nAAAA\n\n— a AAAA\n", "a\n1\n" + "A" * 43 + "=\n\n"])
def test_what_is_no_note_is_refused(text):
    with pytest.raises(BadCheckpoint):
        note_of(text)


def test_a_checkpoint_needs_a_root():
    with pytest.raises(BadValue):
        Checkpoint("a", 1, b"short")


def test_the_key_is_made_once_and_for_its_owner_only(tmp_path):
    first = Keep(tmp_path / "keys").signer.key
    second = Keep(tmp_path / "keys").signer.key

    assert first == second == public_key(tmp_path / "keys" / PUBLIC)
    assert stat.S_IMODE((tmp_path / "keys" / PRIVATE).stat().st_mode) == 0o600


def test_a_key_that_others_may_read_is_refused(tmp_path):
    Keep(tmp_path)
    (tmp_path / PRIVATE).chmod(0o644)

    with pytest.raises(BadKey, match="chmod 600"):
        Keep(tmp_path)


def test_the_newest_checkpoint_is_kept_beside_the_key(tmp_path):
    keep = Keep(tmp_path)
    assert keep.newest() is None

    keep.keep(keep.signer.sign(5, ROOT))

    kept = keep.newest()
    assert kept is not None
    assert kept.checkpoint.size == 5
    assert (tmp_path / KEPT).read_text() == keep.signer.sign(5, ROOT)
