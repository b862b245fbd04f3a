"""Seals and pseudonyms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbone.vault import BadKey, Pseudonyms, Seal, make_keys, open_vault, read_key

SEAL = Seal(b"k" * 32)
text = st.text(max_size=20)


@given(st.binary(max_size=300))
def test_a_seal_opens_with_its_key_and_purpose(clear):
    assert SEAL.open(SEAL.close(clear, "journal"), "journal") == clear


def test_a_seal_opens_for_no_other_purpose_and_no_other_key():
    sealed = SEAL.close(b"x", "journal")

    for seal, purpose in ((SEAL, "identity"), (Seal(b"j" * 32), "journal")):
        with pytest.raises(BadKey):
            seal.open(sealed, purpose)


def test_a_changed_bit_is_noticed():
    sealed = bytearray(SEAL.close(b"identity", "identity"))
    sealed[-1] ^= 1

    with pytest.raises(BadKey):
        SEAL.open(bytes(sealed), "identity")


@given(text, text, text, text)
def test_fields_of_a_pseudonym_are_never_confused(a, b, c, d):
    names = Pseudonyms(b"k" * 32)

    assert (names.of("s", a, b) == names.of("s", c, d)) == ((a, b) == (c, d))


def test_keys_are_made_once_and_for_the_owner_alone(tmp_path):
    folder = tmp_path / "keys"
    make_keys(folder)
    first = open_vault(folder)
    make_keys(folder)

    assert open_vault(folder) == first
    assert (folder / "identity.key").stat().st_mode & 0o777 == 0o600


def test_a_key_that_others_may_read_is_refused(tmp_path):
    make_keys(tmp_path)
    (tmp_path / "journal.key").chmod(0o644)

    with pytest.raises(BadKey, match="chmod 600"):
        read_key(tmp_path / "journal.key")
