"""The audit log's formats against others: the single-file verifier, RFC 8032's vectors, OpenSSL's Ed25519, and RFC 6962's paths."""

import base64
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from anesthesia.leaf import canonical
from anesthesia.merkle import inclusion_proof, leaf_hash, range_of, root_of, verify_inclusion
from services.ledger.checkpoint import Signer
from services.ledger.proof import Growing, inclusion_path, proof_text

SCRIPT = Path(__file__).parents[2] / "deploy" / "verify_audit.py"
SIGNER = Signer(b"\7" * 32)


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verify_audit", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["verify_audit"] = module
    spec.loader.exec_module(module)
    return module


alone = load()

# RFC 8032 section 7.1: public key, message, signature.
VECTORS = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
]


@pytest.mark.parametrize(("public", "text", "signature"), VECTORS)
def test_the_vectors_of_rfc_8032_hold(public, text, signature):
    assert alone.holds(bytes.fromhex(public), bytes.fromhex(text), bytes.fromhex(signature))


@settings(max_examples=15, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=40), st.integers(0, 511))
def test_what_openssl_signed_holds_and_one_changed_bit_does_not(seed, text, bit):
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public, signature = key.public_key().public_bytes_raw(), key.sign(text)
    spoilt = bytearray(signature)
    spoilt[bit // 8] ^= 1 << bit % 8

    assert alone.holds(public, text, signature)
    assert not alone.holds(public, text, bytes(spoilt))


@pytest.mark.parametrize("public", [bytes(31), b"\xff" * 32, bytes(33)])
def test_what_is_no_key_holds_nothing(public):
    assert not alone.holds(public, b"", bytes(64))


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=40), st.data())
def test_a_path_asked_for_piece_by_piece_is_that_of_rfc_6962(entries, data):
    hashes = [leaf_hash(entry) for entry in entries]
    index = data.draw(st.integers(0, len(hashes) - 1))

    path = inclusion_path(index, len(hashes), lambda start, end: root_of(hashes[start:end]))

    assert path == inclusion_proof(hashes, index)
    assert verify_inclusion(hashes[index], index, len(hashes), path, root_of(hashes))


@given(st.lists(st.binary(max_size=8).map(leaf_hash), max_size=70))
def test_a_tree_that_grows_in_place_is_the_same_range(hashes):
    growing = Growing()
    for one in hashes:
        growing.append(one)

    assert growing.range() == range_of(hashes)


def test_a_proof_is_one_text_of_the_tlog_proof_form():
    text = proof_text(2, [b"\1" * 32], SIGNER.sign(3, bytes(32)))

    head, note = text.split("\n\n", 1)
    assert head.split("\n") == ["c2sp.org/tlog-proof@v1", "index 2", base64.b64encode(b"\1" * 32).decode()]
    assert note == SIGNER.sign(3, bytes(32))


def exported(path: Path, entries: list[bytes], signed_at: tuple[int, ...]) -> Path:
    lines = ["sopor audit export 1", f"K {SIGNER.key.text()}"]
    for n, entry in enumerate(entries, 1):
        lines.append(f"L {entry.decode()}")
        if n in signed_at:
            lines.append(f"C {json.dumps(SIGNER.sign(n, range_of([leaf_hash(one) for one in entries[:n]]).root()))}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def key_file(tmp_path) -> Path:
    path = tmp_path / "audit.pub"
    path.write_text(SIGNER.key.text() + "\n")
    return path


ENTRIES = [canonical({"kind": "record", "case_id": "c", "second": 100 + n, "value": f"{n}.5", "index": n}) for n in range(12)]


def test_a_whole_export_has_no_fault(tmp_path, key_file):
    found = alone.check(exported(tmp_path / "log", ENTRIES, (5, 12)), key_file, None)

    assert (found.faults, found.tree.size, found.checkpoints, found.covered) == ([], 12, 2, 12)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda text: text.replace('"3.5"', '"4.5"'), "the last one that fits covers 0"),
        (lambda text: text.replace('"7.5"', '"4.5"'), "the last one that fits covers 5"),
        (lambda text: "\n".join(line for line in text.split("\n") if '"second":106' not in line), "it says that it is leaf 7"),
        (lambda text: text.replace('"second":106', '"second":105'), "a second leaf of case c, second 105"),
        (lambda text: text.replace("\nC ", "\nX ", 1), "neither leaf nor checkpoint"),
    ],
)
def test_a_changed_export_is_found_and_named(tmp_path, key_file, spoil, words):
    log = exported(tmp_path / "log", ENTRIES, (5, 12))
    log.write_text(spoil(log.read_text()))

    found = alone.check(log, key_file, None)

    assert any(words in fault for fault in found.faults)


def test_an_export_that_ends_early_is_found_by_a_checkpoint_kept_elsewhere(tmp_path, key_file):
    kept = tmp_path / "kept"
    kept.write_text(SIGNER.sign(12, root_of([leaf_hash(entry) for entry in ENTRIES])))

    found = alone.check(exported(tmp_path / "log", ENTRIES[:5], (5,)), key_file, kept)

    assert found.faults == ["the checkpoint kept elsewhere covers 12 leaves, 5 are there"]


def test_the_verifier_uses_nothing_but_the_standard_library():
    names = {line.split()[1].split(".")[0] for line in SCRIPT.read_text().splitlines() if line.startswith(("import ", "from "))}

    assert names <= sys.stdlib_module_names
