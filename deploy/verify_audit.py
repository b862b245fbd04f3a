"""Check an export of Sopor's audit log: `python3 verify_audit.py EXPORT --key audit.pub [--against CHECKPOINT]`.

Needs Python 3.11 and nothing else: the signatures are checked by the code below (Ed25519, RFC 8032; tree, RFC 6962; checkpoints, C2SP).
Exit code 0: everything agrees; 7: something was changed; 2: the file cannot be read. Keep this file and `audit.pub` where those who run
Sopor cannot change them. Nothing here is secret, so the arithmetic need not hide how long it takes.
"""

import argparse
import base64
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

FORM = "sopor audit export 1"
CHANGED, UNREADABLE = 7, 2
SHOWN = 20

# ---- Ed25519, RFC 8032 section 5.1 and appendix A ---------------------------------------------------------------------------------

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)
Point = tuple[int, int, int, int]  # extended coordinates: x = X/Z, y = Y/Z, x*y = T/Z


def add(p: Point, q: Point) -> Point:
    """Return the sum of two points."""
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def times(scalar: int, point: Point) -> Point:
    """Return a point added to itself so many times."""
    total = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            total = add(total, point)
        point = add(point, point)
        scalar >>= 1
    return total


def same(p: Point, q: Point) -> bool:
    """Tell whether two points are one."""
    return (p[0] * q[2] - q[0] * p[2]) % P == 0 and (p[1] * q[2] - q[1] * p[2]) % P == 0


def x_of(y: int, sign: int) -> int | None:
    """Return the x of a point from its y and the parity of x; None when there is none."""
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    if square == 0:
        return None if sign else 0
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    if (x * x - square) % P:
        return None
    return P - x if x & 1 != sign else x


def point_of(data: bytes) -> Point | None:
    """Return the point of its 32 bytes; None when they are none."""
    number = int.from_bytes(data, "little")
    y = number & ((1 << 255) - 1)
    x = x_of(y, number >> 255)
    return None if x is None else (x, y, 1, x * y % P)


BASE = point_of((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def holds(public: bytes, text: bytes, signature: bytes) -> bool:
    """Tell whether a signature of a text was made by the owner of a public key (RFC 8032 section 5.1.7)."""
    if len(public) != 32 or len(signature) != 64:  # noqa: PLR2004  the sizes of the scheme
        return False
    key, r = point_of(public), point_of(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if key is None or r is None or BASE is None or s >= ORDER:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + text).digest(), "little") % ORDER
    return same(times(s, BASE), add(r, times(h, key)))


# ---- checkpoints, C2SP tlog-checkpoint and signed-note ----------------------------------------------------------------------------


class Wrong(Exception):
    """A text that is not what it should be."""


@dataclass(frozen=True)
class Key:
    """The log's public key under its name."""

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        """Return the four bytes before each of its signatures."""
        return hashlib.sha256(self.name.encode() + b"\n\x01" + self.public).digest()[:4]


def key_of(text: str) -> Key:
    """Return the key of `name+id+base64`."""
    try:
        name, number, data = text.strip().split("+", 2)
        raw = base64.b64decode(data, validate=True)
    except ValueError as fault:
        raise Wrong("the public key is not of the form name+id+base64") from fault
    key = Key(name, raw[1:])
    if raw[:1] != b"\x01" or key.key_id.hex() != number:
        raise Wrong("the public key does not fit its own id")
    return key


def checkpoint_of(note: str, key: Key) -> tuple[int, bytes]:
    """Return size and root of a note that this key signed."""
    body, _, signed = note.partition("\n\n")
    lines = body.split("\n")
    if len(lines) != 3 or lines[0] != key.name or not lines[1].isdecimal():  # noqa: PLR2004  origin, size, root
        raise Wrong("a checkpoint of another form, or of another log")
    for line in signed.splitlines():
        dash, name, data = ([*line.split(" "), "", ""])[:3]
        try:
            raw = base64.b64decode(data, validate=True)
            root = base64.b64decode(lines[2], validate=True)
        except ValueError as fault:
            raise Wrong("a checkpoint that is not base64") from fault
        if (dash, name, raw[:4]) == ("—", key.name, key.key_id) and holds(key.public, f"{body}\n".encode(), raw[4:]):
            return int(lines[1]), root
    raise Wrong(f"the checkpoint over {lines[1]} leaves is not signed by {key.name}")


# ---- the tree, RFC 6962 section 2.1 ----------------------------------------------------------------------------------------------


@dataclass
class Tree:
    """A tree that only grows: the roots of its perfect subtrees, largest first."""

    size: int = 0
    roots: list[bytes] = field(default_factory=list)

    def append(self, entry: bytes) -> None:
        """Add a leaf."""
        hashed, size = hashlib.sha256(b"\x00" + entry).digest(), self.size
        while size & 1:
            hashed = hashlib.sha256(b"\x01" + self.roots.pop() + hashed).digest()
            size >>= 1
        self.roots.append(hashed)
        self.size += 1

    def root(self) -> bytes:
        """Return the root."""
        if not self.roots:
            return hashlib.sha256(b"").digest()
        hashed = self.roots[-1]
        for left in reversed(self.roots[:-1]):
            hashed = hashlib.sha256(b"\x01" + left + hashed).digest()
        return hashed


# ---- the export -------------------------------------------------------------------------------------------------------------------


@dataclass
class Check:
    """One pass over an export."""

    key: Key
    against: tuple[int, bytes] | None = None
    tree: Tree = field(default_factory=Tree)
    faults: list[str] = field(default_factory=list)
    checkpoints: int = 0
    covered: int = 0
    records: set[bytes] = field(default_factory=set)  # 16 bytes each: which (case, second) have a leaf

    def take(self, line: str) -> None:
        """Take one line."""
        kind, _, rest = line.partition(" ")
        if kind == "L":
            self._leaf(rest.encode())
        elif kind == "C":
            self._checkpoint(rest)
        elif kind != "K":
            self.faults.append(f"after leaf {self.tree.size - 1}: a line that is neither leaf nor checkpoint")

    def _leaf(self, entry: bytes) -> None:
        index = self.tree.size
        try:
            says = json.loads(entry)
            place = (says["index"], says["kind"], says.get("case_id"), says.get("second"))
        except (AttributeError, KeyError, TypeError, ValueError):
            place = (None, None, None, None)
        if place[0] != index:
            self.faults.append(f"leaf {index}: it says that it is leaf {place[0]} (case {place[2]}, second {place[3]})")
        if place[1] == "record":
            record = hashlib.sha256(f"{place[2]} {place[3]}".encode()).digest()[:16]
            if record in self.records:
                self.faults.append(f"leaf {index}: a second leaf of case {place[2]}, second {place[3]}")
            self.records.add(record)
        self.tree.append(entry)
        if self.against is not None and self.against[0] == self.tree.size and self.against[1] != self.tree.root():
            self.faults.append(f"the first {self.tree.size} leaves are not those of the checkpoint that was kept elsewhere")

    def _checkpoint(self, text: str) -> None:
        self.checkpoints += 1
        try:
            size, root = checkpoint_of(json.loads(text), self.key)
        except (Wrong, AttributeError, ValueError) as fault:
            self.faults.append(f"checkpoint after leaf {self.tree.size - 1}: {fault}")
            return
        if (size, root) == (self.tree.size, self.tree.root()):
            self.covered = size
        else:
            have = f"{self.tree.size} leaves are there"
            self.faults.append(f"the checkpoint over {size} leaves does not fit: {have}; the last one that fits covers {self.covered}")

    def end(self) -> None:
        """Say what is missing at the end."""
        if self.against is not None and self.against[0] > self.tree.size:
            self.faults.append(f"the checkpoint kept elsewhere covers {self.against[0]} leaves, {self.tree.size} are there")


def lines_of(path: Path) -> Iterator[str]:
    """Yield the lines of an export after its first; Wrong when it is none."""
    with path.open(encoding="utf-8", newline="\n") as file:
        if file.readline() != f"{FORM}\n":
            raise Wrong(f"{path}: no export of an audit log")
        for line in file:
            yield line.removesuffix("\n")


def check(path: Path, key_path: Path, against: Path | None) -> Check:
    """Return what an export came to."""
    key = key_of(key_path.read_text(encoding="utf-8"))
    made = Check(key, None if against is None else checkpoint_of(against.read_text(encoding="utf-8"), key))
    for line in lines_of(path):
        made.take(line)
    made.end()
    return made


def main() -> int:
    """Read the arguments, say what was found, return the exit code."""
    reading = argparse.ArgumentParser(description="Check an export of Sopor's audit log.")
    reading.add_argument("export", type=Path)
    reading.add_argument("--key", type=Path, required=True, help="audit.pub, from someone you trust and not from the export")
    reading.add_argument("--against", type=Path, help="a checkpoint that was kept elsewhere")
    given = reading.parse_args()
    try:
        found = check(given.export, given.key, given.against)
    except (OSError, UnicodeDecodeError, Wrong) as fault:
        sys.stderr.write(f"{fault}\n")
        return UNREADABLE
    for fault in found.faults[:SHOWN]:
        sys.stdout.write(f"FAULT {fault}\n")
    newer = found.tree.size - found.covered
    sys.stdout.write(f"{found.tree.size} leaves, {found.checkpoints} checkpoints, root {found.tree.root().hex()}\n")
    sys.stdout.write(f"{len(found.faults)} fault(s); {newer} leaves are newer than the newest checkpoint that fits\n")
    return CHANGED if found.faults else 0


if __name__ == "__main__":
    sys.exit(main())
