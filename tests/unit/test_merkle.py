"""RFC 6962: known answers of the certificate-transparency test data, and every proof against every tamper."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anesthesia.errors import BadValue
from anesthesia.merkle import (
    EMPTY_ROOT,
    Range,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    range_of,
    root_of,
    verify_consistency,
    verify_inclusion,
)

# Leaves and roots of the reference test data of certificate transparency (RFC 6962 implementations share them).
DATA = [bytes.fromhex(h) for h in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [leaf_hash(data) for data in DATA]
trees = st.lists(st.binary(max_size=8).map(leaf_hash), min_size=1, max_size=40)


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_the_reference_data(size):
    assert root_of(LEAVES[:size]).hex() == ROOTS[size - 1]


def test_the_empty_tree_has_the_hash_of_nothing():
    assert Range().root() == EMPTY_ROOT


@given(trees, st.data())
def test_every_leaf_is_proven_and_no_other(leaves, data):
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof, root = inclusion_proof(leaves, index), root_of(leaves)

    assert verify_inclusion(leaves[index], index, len(leaves), proof, root)
    assert not verify_inclusion(leaf_hash(b"another leaf, not there"), index, len(leaves), proof, root)
    assert not verify_inclusion(leaves[index], index, len(leaves), [*proof, root], root)


@given(trees, st.data())
def test_growth_is_proven_and_rewriting_is_not(leaves, data):
    old_size = data.draw(st.integers(1, len(leaves)))
    proof = consistency_proof(leaves, old_size)
    old, new = (old_size, root_of(leaves[:old_size])), (len(leaves), root_of(leaves))
    changed = [leaf_hash(b"rewritten history"), *leaves[1:]]

    assert verify_consistency(old, new, proof)
    if changed != leaves:
        assert not verify_consistency(old, (len(leaves), root_of(changed)), consistency_proof(changed, old_size))


@given(trees)
def test_a_range_appended_leaf_by_leaf_has_the_root_of_the_whole(leaves):
    half = range_of(leaves[: len(leaves) // 2])
    for leaf in leaves[len(leaves) // 2 :]:
        half = half.append(leaf)

    assert half == range_of(leaves)


def test_impossible_ranges_and_proofs_are_refused():
    for wrong in (lambda: Range(3, (b"x" * 32,)), lambda: inclusion_proof(LEAVES, 8), lambda: consistency_proof(LEAVES, 0)):
        with pytest.raises(BadValue):
            wrong()
