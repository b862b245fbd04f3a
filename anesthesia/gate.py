"""Whether a second may be scored: tiers, refusals and caveats by the clinical rules. Pure: the scorer asks, the answer is a value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from anesthesia.eeg import cautery_share, clipped_share, is_flat, suppression_ratio
from anesthesia.limits import Limits
from anesthesia.prediction import Caveat, DeviceIndex, RefusalReason
from anesthesia.reading import Numeric
from anesthesia.signal import DEVICE_INDICES
from anesthesia.window import EEG_RATE_HZ, Window

NEWEST_S = 30  # clipping is judged over the newest 30 s
NORMAL_TOF_COUNT = 4  # four of four twitches: no relevant neuromuscular block
RUNNING_ML_H = 0.0
TRACE_PERCENT = 0.1  # an agent below this is a sensor's noise
N2O_FROM_PERCENT = 5.0
SUPPRESSED_ALMOST_ALL_PERCENT = 95.0  # only then may a device index of 0 be believed


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the gate must know beside the window: how the bed, the feed and the site stand at this second."""

    adult_only: bool
    minimum_coverage_s: float
    all_stale: bool = False
    clock_doubt: bool = False
    association_doubt: bool = False
    demo_refused: bool = False  # a device says demo or training, and the site is not in mode simulation
    eeg_lost_at: datetime | None = None  # end of the newest EEG, when the newest second holds none
    declared: frozenset[RefusalReason] = field(default_factory=frozenset)  # bypass, ... as a person declared


def value_of(numerics: Mapping[str, Numeric], name: str) -> float | None:
    """Return the fresh value of a Signal, or None."""
    numeric = numerics.get(name)
    return numeric.value if numeric is not None else None


def contact_proven(numerics: Mapping[str, Numeric]) -> bool:
    """Tell whether the device says that the electrodes are in contact."""
    return value_of(numerics, "eeg_lead_off") == 0


def suppression_of(window: Window) -> float | None:
    """Return the suppression ratio over 63 s in percent, where contact is proven and the window holds EEG; else None."""
    if not contact_proven(window.numerics) or not window.mask.any():
        return None
    best = int(window.mask.sum(axis=1).argmax())
    return suppression_ratio(window.eeg_microvolt[best], window.mask[best], EEG_RATE_HZ)


def refusal_of_all(window: Window, now: Circumstances, limits: Limits) -> RefusalReason | None:
    """Return the first reason that closes every tier, or None."""
    age = window.covariates.age_years
    temperature = value_of(window.numerics, "temperature")
    checks = (
        (now.demo_refused, RefusalReason.DEVICE_DEMO),
        (now.clock_doubt, RefusalReason.CLOCK),
        (now.association_doubt, RefusalReason.ASSOCIATION_DOUBT),
        (now.all_stale, RefusalReason.STALE),
        (age is None and not now.adult_only, RefusalReason.AGE_UNKNOWN),
        (age is not None and age < limits.adult_from_years, RefusalReason.AGE_OUT_OF_SCOPE),
        (RefusalReason.BYPASS in now.declared, RefusalReason.BYPASS),
        (
            RefusalReason.HYPOTHERMIA in now.declared or (temperature is not None and temperature < limits.hypothermia_below_cel),
            RefusalReason.HYPOTHERMIA,
        ),
    )
    return next((reason for holds, reason in checks if holds), None)


def refusal_of_eeg(window: Window, now: Circumstances, limits: Limits) -> RefusalReason | None:
    """Return the first reason against tier E that needs no model, or None."""
    if value_of(window.numerics, "eeg_lead_off") == 1:
        return RefusalReason.LEAD_OFF
    if window.covered_s(1) == 0 or window.covered_s(NEWEST_S) < now.minimum_coverage_s:
        return RefusalReason.NO_EEG
    sqi, emg = value_of(window.numerics, "sqi"), value_of(window.numerics, "emg")
    best = int(window.model_mask.sum(axis=1).argmax())
    eeg, mask = window.model_eeg[best], window.model_mask[best]
    newest = slice(-NEWEST_S * EEG_RATE_HZ, None)
    if is_flat(eeg[newest], mask[newest], EEG_RATE_HZ):
        # A flat signal is never a score. With contact proven the record carries the suppression ratio beside this reason.
        return RefusalReason.FLAT_UNVERIFIED if not contact_proven(window.numerics) else RefusalReason.OUT_OF_DISTRIBUTION
    checks = (
        (sqi is not None and sqi < limits.sqi_refused_below_percent, RefusalReason.SQI_LOW),
        (emg is not None and emg > limits.emg_refused_above_db, RefusalReason.EMG_HIGH),
        (cautery_share(eeg, mask, EEG_RATE_HZ) > limits.cautery_refused_above_share, RefusalReason.CAUTERY),
        (clipped_share(eeg[newest], mask[newest]) > limits.clipped_refused_above_share, RefusalReason.CLIPPED),
    )
    return next((reason for holds, reason in checks if holds), None)


def device_index_of(window: Window, now: Circumstances, limits: Limits) -> DeviceIndex | None:
    """Return the device's own index if it is valid, else None.

    An index observed before the EEG was lost says nothing of the time since. A BIS of 0 means "no value" unless the suppression ratio
    is at least 95 % and SQI is valid.
    """
    sqi = value_of(window.numerics, "sqi")
    if sqi is not None and sqi < limits.sqi_refused_below_percent:
        return None
    for name in DEVICE_INDICES:
        numeric = window.numerics.get(name)
        if numeric is None or numeric.value is None:
            continue
        if now.eeg_lost_at is not None and numeric.observed_at < now.eeg_lost_at:
            continue
        suppressed = (value_of(window.numerics, "suppression_ratio") or 0.0) >= SUPPRESSED_ALMOST_ALL_PERCENT
        if numeric.value <= 0 and not (suppressed and sqi is not None):
            continue
        return DeviceIndex(name, numeric.value, numeric.observed_at)
    return None


def caveats_of(window: Window, limits: Limits, *, late: bool) -> tuple[Caveat, ...]:
    """Return the words that must stand beside a tier E number."""
    values = {name: numeric.value for name, numeric in window.numerics.items() if numeric.value is not None}
    sqi, emg, age = values.get("sqi"), values.get("emg"), window.covariates.age_years
    agents = ("sevoflurane", "desflurane", "isoflurane")
    checks = (
        (sqi is not None and sqi < limits.sqi_fair_below_percent, Caveat.SQI_FAIR),
        (emg is not None and emg >= limits.emg_fair_from_db, Caveat.EMG_FAIR),
        (values.get("tof_count") != NORMAL_TOF_COUNT, Caveat.NMB_OR_UNKNOWN),
        (values.get("ketamine_rate", 0.0) > RUNNING_ML_H, Caveat.KETAMINE),
        (values.get("n2o_end_tidal", 0.0) >= N2O_FROM_PERCENT, Caveat.N2O),
        (values.get("dexmedetomidine_rate", 0.0) > RUNNING_ML_H, Caveat.DEXMEDETOMIDINE),
        (any(values.get(f"{a}_end_tidal", 0.0) > TRACE_PERCENT for a in agents), Caveat.VOLATILE_NOT_VALIDATED),
        (age is not None and age >= limits.elderly_from_years, Caveat.ELDERLY),
        (late, Caveat.LATE_FEED),
    )
    return tuple(caveat for holds, caveat in checks if holds)
