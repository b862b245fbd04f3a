"""Records as a scorer would write them, for tests of those who read them."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from uuid import UUID, uuid5

from anesthesia.case import instant_of
from anesthesia.occupancy import CASE_NAMESPACE
from anesthesia.prediction import (
    Caveat,
    DeviceIndex,
    Evidence,
    ExpectedSecond,
    ModelUsed,
    Prediction,
    Record,
    Refusal,
    RefusalReason,
    Tier,
    state_of,
)
from anesthesia.reading import Bed
from backbone.redis.streams import connect, partition_of
from backbone.wire import pack_record

SITE = "demo"
MODEL = ModelUsed("depth-eeg@0.1.0", "ab" * 32)


def case_of(bed: str) -> UUID:
    """Return the id of the one case of a bed."""
    return uuid5(CASE_NAMESPACE, bed)


def _of(bed: str, second: int) -> ExpectedSecond:
    return ExpectedSecond(case_of(bed), Bed(SITE, bed), second, simulated=True)


def _evidence(until: datetime | None, interval_s: float, bound_s: float | None) -> Evidence:
    bound = bound_s if bound_s is not None else (10.0 if interval_s <= 1 else 3 * interval_s)
    return Evidence(until, until, bytes(32), interval_s, bound)


def eeg(bed: str, second: int, value: float = 47.2, *, bound_s: float | None = None, caveats: tuple[Caveat, ...] = ()) -> Prediction:
    """Return a tier E Prediction whose evidence ends with its second."""
    evidence = _evidence(instant_of(second + 1), 1.0, bound_s)
    low, high = max(0.0, value - 6.5), min(100.0, value + 7.5)
    return Prediction(_of(bed, second), Tier.E, value, low, high, evidence, state_of(value), caveats, MODEL)


def device(bed: str, second: int, observed: int, value: float = 46.0, *, interval_s: float = 10.0) -> Prediction:
    """Return a tier D Prediction that repeats a BIS observed at the Unix second `observed`."""
    index = DeviceIndex("bis", value, instant_of(observed))
    evidence = _evidence(instant_of(observed), interval_s, None)
    return Prediction(
        of=_of(bed, second),
        tier=Tier.D,
        value=value,
        low=value,
        high=value,
        evidence=evidence,
        state=state_of(value),
        instead_of_e=RefusalReason.NO_EEG,
        device_index=index,
    )


def refusal(bed: str, second: int, reason: RefusalReason, *, interval_s: float = 1.0, suppression: float | None = None) -> Refusal:
    """Return a Refusal with evidence up to its second."""
    return Refusal(_of(bed, second), reason, _evidence(instant_of(second + 1), interval_s, None), suppression_ratio=suppression)


def conflict(bed: str, second: int, *, model: float, bis: float) -> Refusal:
    """Return a Refusal because model and device disagree."""
    observed = instant_of(second + 1)
    index = DeviceIndex("bis", bis, observed - timedelta(seconds=1))
    reason = RefusalReason.CONFLICT_WITH_DEVICE
    return Refusal(_of(bed, second), reason, _evidence(observed, 1.0, None), MODEL, index, withheld_value=model)


def record(redis_url: str, *records: Record) -> None:
    """Record, as the scorer does."""

    async def append() -> None:
        async with connect(redis_url) as streams:
            await streams.prepare()
            for one in records:
                await streams.record(partition_of(one.of.bed), one.of.case_id, one.of.second, pack_record(one))

    # On a thread of its own: a browser test has a running loop already.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(append())).result()
