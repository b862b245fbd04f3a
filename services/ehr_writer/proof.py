"""Does a resource read back from an EHR say what the audit log says? Pure.

The Observation and its Provenance are JSON as the EHR holds it; the leaves are those of the case's records, as the log holds them.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any, Final

from anesthesia.errors import SoporError
from anesthesia.merkle import leaf_hash
from backbone.audit import StoredLeaf
from services.ehr_writer.codes import INPUT_HASH, LEAF, LEAVES_HASH, Json
from services.ehr_writer.resources import VALUE_DIGITS, leaf_name

SECOND_BYTES: Final = 8


class NoProof(SoporError):
    """A Provenance that names no leaf: of a minute of which no second was recorded, or none of ours."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a Provenance claims: seconds `[first, stop)` of the case, hashes over inputs and leaves as hex, the leaves by `origin/index`."""

    first: int
    stop: int
    input_hash: str
    leaves_hash: str
    leaves: tuple[str, ...]

    @property
    def last_leaf(self) -> int:
        """Index of the last leaf; later ones are of seconds that were recorded after the minute was summarised."""
        return int(self.leaves[-1].rpartition("/")[2])


def _identifiers(provenance: Json, system: str) -> tuple[str, ...]:
    found = (entity.get("what", {}).get("identifier", {}) for entity in provenance.get("entity", []))
    return tuple(str(one["value"]) for one in found if one.get("system") == system)


def claim_of(provenance: Json) -> Claim:
    """Return what a Provenance claims; NoProof when it names no leaf."""
    inputs, leaves = _identifiers(provenance, INPUT_HASH), _identifiers(provenance, LEAF)
    hashes, period = _identifiers(provenance, LEAVES_HASH), provenance.get("occurredPeriod", {})
    try:
        first, stop = (int(datetime.fromisoformat(period[end]).timestamp()) for end in ("start", "end"))
        claim = Claim(first, stop, inputs[0], hashes[0], leaves)
        claim.last_leaf  # noqa: B018  it must be a number
    except (KeyError, IndexError, ValueError) as fault:
        raise NoProof("the Provenance names no leaf of the audit log") from fault
    return claim


def meant(claim: Claim, leaves: Sequence[StoredLeaf]) -> list[StoredLeaf]:
    """Return, of a case's leaves, those of the records that the claim speaks of."""
    records = (leaf for leaf in leaves if leaf.kind == "record" and leaf.second is not None)
    return [leaf for leaf in records if claim.first <= (leaf.second or 0) < claim.stop and leaf.index <= claim.last_leaf]


def faults_of(claim: Claim, observation: Json, origin: str, leaves: Sequence[StoredLeaf]) -> list[str]:
    """Return in words what does not agree; `leaves` are the meant ones of the log named `origin`, rising. None: all agrees."""
    said: list[dict[str, Any]] = [json.loads(leaf.entry) for leaf in leaves]
    named = tuple(dict.fromkeys(leaf_name(origin, leaf.index) for leaf in (*leaves[:1], *leaves[-1:])))
    inputs = b"".join(one["second"].to_bytes(SECOND_BYTES, "big") + bytes.fromhex(one["input_hash"]) for one in said)
    values = [float(one["value"]) for one in said if one.get("tier") == "E"]
    written = observation.get("valueQuantity", {}).get("value")
    checks = {
        "a leaf's hash is not that of its entry": all(leaf_hash(leaf.entry) == leaf.leaf_hash for leaf in leaves),
        "the log has other first and last leaves of these seconds": named == claim.leaves,
        "the hash over the leaves differs": hashlib.sha256(b"".join(leaf.leaf_hash for leaf in leaves)).hexdigest() == claim.leaves_hash,
        "the hash over the inputs differs": hashlib.sha256(inputs).hexdigest() == claim.input_hash,
        "the value is not the median of the leaves' values": written is None
        or (bool(values) and round(median(values), VALUE_DIGITS) == float(written)),
    }
    return [fault for fault, agrees in checks.items() if not agrees]
