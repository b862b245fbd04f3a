"""The recorded seconds of one minute -> what the EHR is told of it: a Summary, a Withheld minute, or nothing. Pure."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from anesthesia.prediction import Caveat, RefusalReason, Tier
from services.ehr_writer.windows import Minute

LEAST_SCORED_S: Final = 30  # of 60, else the minute is withheld
# The device and the model disagree: the page shows both, the EHR is told neither.
NEVER_WRITTEN: Final = frozenset({RefusalReason.CONFLICT_WITH_DEVICE})


@dataclass(frozen=True, slots=True)
class Second:
    """One record, as far as a summary needs it, and its leaf. `reason` is a Refusal's; tier, value, low and high are a Prediction's."""

    second: int
    tier: Tier | None
    value: float | None
    low: float | None
    high: float | None
    reason: RefusalReason | None
    caveats: tuple[Caveat, ...]
    model: str | None
    model_digest: str | None
    input_hash: bytes
    leaf: int
    leaf_hash: bytes


@dataclass(frozen=True, slots=True)
class Leaves:
    """The audit log's leaves of some records of one case: the first's and the last's index, and SHA-256 over all leaf hashes, as hex.

    Between the two lie leaves of other cases; the digest names exactly those that are meant.
    """

    first: int
    last: int
    digest: str


@dataclass(frozen=True, slots=True)
class Counted:
    """What every minute says: how many of its expected seconds were scored (tier E), the hash over all inputs, the leaves of its records.

    `leaves` is None when no second of it was recorded.
    """

    first: int
    stop: int
    expected: int
    scored: int
    input_hash: str
    leaves: Leaves | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """A minute with at least 30 scored seconds. Depth 0 to 100; `value`, `low` and `high` are medians of the seconds'."""

    counted: Counted
    value: float
    low: float
    high: float
    minimum: float
    maximum: float
    caveats: tuple[Caveat, ...]
    model: str
    model_digest: str


@dataclass(frozen=True, slots=True)
class Withheld:
    """A minute without a number, and the reason that held for most of its seconds."""

    counted: Counted
    reason: RefusalReason


@dataclass(frozen=True, slots=True)
class Nothing:
    """Too little of a minute to say anything: the case began or ended in it."""

    counted: Counted


Outcome = Summary | Withheld | Nothing


def _hash_of(seconds: Sequence[Second]) -> str:
    """Return SHA-256 over second (8 bytes, big-endian) and input hash of each record, in order, as hex."""
    return hashlib.sha256(b"".join(s.second.to_bytes(8, "big") + s.input_hash for s in seconds)).hexdigest()


def leaves_of(leaves: Iterable[tuple[int, bytes]]) -> Leaves | None:
    """Return the leaves of (index, leaf hash), rising; None for none."""
    found = list(leaves)
    if not found:
        return None
    return Leaves(found[0][0], found[-1][0], hashlib.sha256(b"".join(hashed for _, hashed in found)).hexdigest())


def reason_of(second: Second) -> RefusalReason | None:
    """Return why a second has no score: a device's own index (D) and a drug effect (P) are no EEG."""
    if second.tier is Tier.E:
        return None
    return second.reason or RefusalReason.NO_EEG


def _main_reason(seconds: Sequence[Second], missing: int) -> RefusalReason:
    """Return the most frequent reason, the earliest of equals; a second that nobody recorded counts as `model_unavailable`."""
    reasons = Counter(reason for s in seconds if (reason := reason_of(s)) is not None)
    if missing:
        reasons[RefusalReason.MODEL_UNAVAILABLE] += missing
    return reasons.most_common(1)[0][0]


def _newest_model(scored: Sequence[Second]) -> tuple[str, str]:
    newest = scored[-1]
    return newest.model or "", newest.model_digest or ""


def _summary(counted: Counted, scored: Sequence[Second]) -> Summary:
    values = [s.value for s in scored if s.value is not None]
    model, digest = _newest_model(scored)
    present = {caveat for s in scored for caveat in s.caveats}
    return Summary(
        counted=counted,
        value=median(values),
        low=median(s.low for s in scored if s.low is not None),
        high=median(s.high for s in scored if s.high is not None),
        minimum=min(values),
        maximum=max(values),
        caveats=tuple(caveat for caveat in Caveat if caveat in present),
        model=model,
        model_digest=digest,
    )


def outcome_of(minute: Minute, seconds: Sequence[Second]) -> Outcome:
    """Return what a minute says; `seconds` are its records, rising. Those outside the case are left out."""
    inside = [s for s in seconds if minute.first <= s.second < minute.stop]
    scored = [s for s in inside if s.tier is Tier.E]
    leaves = leaves_of((s.leaf, s.leaf_hash) for s in inside)
    counted = Counted(minute.first, minute.stop, minute.expected, len(scored), _hash_of(inside), leaves)
    if len(scored) >= LEAST_SCORED_S:
        return _summary(counted, scored)
    if not minute.whole:
        return Nothing(counted)
    return Withheld(counted, _main_reason(inside, minute.expected - len(inside)))


def is_news(withheld: Withheld, said_last: RefusalReason | None) -> bool:
    """Tell whether a withheld minute is written: the first after a number or the start, and each change of reason."""
    return withheld.reason not in NEVER_WRITTEN and withheld.reason != said_last
