"""The audit log as one text file, which `deploy/verify_audit.py` checks with nothing but Python.

First `sopor audit export 1`, then `K` and the public key; `L` and a leaf's entry, in order; `C` and a checkpoint's note as a JSON text,
after the last leaf that it covers.
"""

import json
from collections.abc import Iterator

from anesthesia.checkpoint import VerifierKey
from backbone.audit import Snapshot

FORM = "sopor audit export 1"


def lines_of(snapshot: Snapshot, key: VerifierKey) -> Iterator[str]:
    """Yield the lines of the file, without their ends; memory stays flat."""
    yield FORM
    yield f"K {key.text()}"
    checkpoints = snapshot.checkpoints()
    pending = next(checkpoints, None)
    for leaf, _ in snapshot.leaves():
        while pending is not None and pending.size <= leaf.index:
            yield f"C {json.dumps(pending.note)}"
            pending = next(checkpoints, None)
        yield f"L {leaf.entry.decode(errors='replace')}"
    while pending is not None:
        yield f"C {json.dumps(pending.note)}"
        pending = next(checkpoints, None)
