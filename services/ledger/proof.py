"""The proof that one leaf stands in the tree of a checkpoint, as C2SP's `tlog-proof`. Memory stays flat."""

import base64
from collections.abc import Callable, Iterable

from anesthesia.merkle import Range, node_hash

FORM = "c2sp.org/tlog-proof@v1"


class Growing:
    """A compact range that is appended to in place: for millions of leaves."""

    def __init__(self) -> None:
        """Start with the empty tree."""
        self.size = 0
        self._roots: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        """Add a leaf hash."""
        roots, size = self._roots, self.size
        while size & 1:
            leaf = node_hash(roots.pop(), leaf)
            size >>= 1
        roots.append(leaf)
        self.size += 1

    def range(self) -> Range:
        """Return the range of now."""
        return Range(self.size, tuple(self._roots))


def root_of_stream(hashes: Iterable[bytes]) -> bytes:
    """Return the root of leaf hashes as they come."""
    made = Growing()
    for one in hashes:
        made.append(one)
    return made.range().root()


def inclusion_path(index: int, size: int, root_between: Callable[[int, int], bytes]) -> list[bytes]:
    """Return the audit path of leaf `index` among `size` (RFC 6962 section 2.1.1), nearest sibling first.

    `root_between(a, b)` is the root of the leaves `[a, b)`; each leaf is asked for at most once.
    """
    start, end, path = 0, size, list[bytes]()
    while end - start > 1:
        middle = start + (1 << ((end - start - 1).bit_length() - 1))
        if index < middle:
            path.append(root_between(middle, end))
            end = middle
        else:
            path.append(root_between(start, middle))
            start = middle
    return path[::-1]


def proof_text(index: int, path: Iterable[bytes], note: str) -> str:
    """Return the proof as one text that can be checked without the log."""
    lines = [FORM, f"index {index}", *(base64.b64encode(one).decode() for one in path), "", ""]
    return "\n".join(lines) + note
