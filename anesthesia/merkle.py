"""The Merkle tree of the audit log: hashes, roots and proofs of RFC 6962 section 2.1. Pure.

A tree of n leaves is held as its compact range: the roots of the perfect subtrees of n, largest first. Appending costs O(log n) and the
range is all that a writer must keep; proofs are computed from leaf hashes.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from anesthesia.errors import BadValue

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """Return SHA-256(0x00 || data): the hash of a leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(0x01 || left || right): the hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Range:
    """A tree as its compact range: `size` leaves and the roots of their perfect subtrees, largest first."""

    size: int = 0
    roots: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a range whose roots do not fit its size."""
        if self.size < 0 or len(self.roots) != self.size.bit_count() or any(len(root) != HASH_BYTES for root in self.roots):
            raise BadValue("merkle range: one 32-byte root for each bit of the size")

    def append(self, leaf: bytes) -> "Range":
        """Return the range with one more leaf hash."""
        roots, hashed, size = list(self.roots), leaf, self.size
        while size & 1:
            hashed = node_hash(roots.pop(), hashed)
            size >>= 1
        return Range(self.size + 1, (*roots, hashed))

    def root(self) -> bytes:
        """Return the root hash of the whole tree."""
        if not self.roots:
            return EMPTY_ROOT
        hashed = self.roots[-1]
        for left in reversed(self.roots[:-1]):
            hashed = node_hash(left, hashed)
        return hashed


def range_of(leaves: Sequence[bytes]) -> Range:
    """Return the compact range of leaf hashes."""
    made = Range()
    for leaf in leaves:
        made = made.append(leaf)
    return made


def _split(size: int) -> int:
    """Return the largest power of two smaller than `size` (at least 2)."""
    return 1 << ((size - 1).bit_length() - 1)


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the root hash of leaf hashes: MTH of RFC 6962 section 2.1."""
    return range_of(leaves).root()


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the audit path of leaf `index`: PATH(m, D[n]) of RFC 6962 section 2.1.1, nearest sibling first."""
    if not 0 <= index < len(leaves):
        raise BadValue("merkle proof: no leaf at this index")
    if len(leaves) == 1:
        return []
    k = _split(len(leaves))
    if index < k:
        return [*inclusion_proof(leaves[:k], index), root_of(leaves[k:])]
    return [*inclusion_proof(leaves[k:], index - k), root_of(leaves[:k])]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Tell whether a leaf hash stands at `index` in the tree of `size` leaves with this root (RFC 9162 section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    fn, sn, hashed = index, size - 1, leaf
    for sibling in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            hashed = node_hash(sibling, hashed)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            hashed = node_hash(hashed, sibling)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and hashed == root


def consistency_proof(leaves: Sequence[bytes], old_size: int) -> list[bytes]:
    """Return the proof that the first `old_size` leaves are a prefix: PROOF(m, D[n]) of RFC 6962 section 2.1.2."""
    if not 0 < old_size <= len(leaves):
        raise BadValue("merkle proof: the older tree must have between 1 and all leaves")
    return _subproof(leaves, old_size, whole=True)


def _subproof(leaves: Sequence[bytes], old_size: int, *, whole: bool) -> list[bytes]:
    if old_size == len(leaves):
        return [] if whole else [root_of(leaves)]
    k = _split(len(leaves))
    if old_size <= k:
        return [*_subproof(leaves[:k], old_size, whole=whole), root_of(leaves[k:])]
    return [*_subproof(leaves[k:], old_size - k, whole=False), root_of(leaves[:k])]


def verify_consistency(old: tuple[int, bytes], new: tuple[int, bytes], proof: Sequence[bytes]) -> bool:
    """Tell whether the tree `new` (size, root) only appended to the tree `old` (RFC 9162 section 2.1.4.2)."""
    (old_size, old_root), (size, root) = old, new
    if not 0 < old_size <= size:
        return False
    if old_size == size:
        return not proof and old_root == root
    path = list(proof) if old_size & (old_size - 1) else [old_root, *proof]
    folded = _folded(path, old_size, size) if path else None
    return folded == (old_root, root)


def _folded(path: Sequence[bytes], old_size: int, size: int) -> tuple[bytes, bytes] | None:
    """Return the roots of the older and the newer tree that a path leads to; None when it has the wrong length."""
    fn, sn = old_size - 1, size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    older = newer = path[0]
    for sibling in path[1:]:
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            older, newer = node_hash(sibling, older), node_hash(sibling, newer)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            newer = node_hash(newer, sibling)
        fn, sn = fn >> 1, sn >> 1
    return (older, newer) if sn == 0 else None
