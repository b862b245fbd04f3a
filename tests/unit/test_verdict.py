"""Every refusal, tier and caveat of the clinical rules, each provoked."""

from dataclasses import replace
from types import MappingProxyType
from uuid import UUID

import numpy as np
import pytest

from anesthesia.gate import Circumstances
from anesthesia.limits import Limits
from anesthesia.occupancy import Covariates
from anesthesia.prediction import (
    Caveat,
    Evidence,
    ExpectedSecond,
    ModelUsed,
    Prediction,
    Refusal,
    RefusalReason,
    StateWord,
    Tier,
)
from anesthesia.window import EEG_RATE_HZ, SPAN_SAMPLES, Window
from services.depth_scorer.board import Due
from services.depth_scorer.conflict import Conflict
from services.depth_scorer.verdict import Scored, after_model, before_model
from tests.beds import BED, SECOND, at, numeric

LIMITS = Limits()
MODEL = ModelUsed("depth-eeg@0.1.0", "ab")
R = RefusalReason


def noise(rms_microvolt: float = 12.0) -> np.ndarray:
    """EEG-like noise: white, low-passed so that little of it is fast."""
    white = np.random.default_rng(3).normal(size=SPAN_SAMPLES + 15)
    smooth = np.convolve(white, np.ones(16) / 16, mode="valid")
    return (smooth / smooth.std() * rms_microvolt).astype(np.float32)


def due(eeg: np.ndarray | None = None, *, covered_s: float = 63, age: int | None = 50, conflict: Conflict | None = None, **said) -> Due:
    """One due second: clean EEG on the first channel unless told otherwise; keywords are numerics or circumstances."""
    signal = noise() if eeg is None else eeg
    mask = np.zeros((2, SPAN_SAMPLES), np.bool_)
    first = SPAN_SAMPLES - int(covered_s * EEG_RATE_HZ)
    mask[0, first:] = True
    both = np.where(mask, np.stack([signal, np.zeros_like(signal)]), 0).astype(np.float32)
    late = said.pop("late", False)
    circumstances = Circumstances(
        adult_only=said.pop("adult_only", False),
        minimum_coverage_s=20,
        **{name: said.pop(name) for name in list(said) if name in Circumstances.__dataclass_fields__},
    )
    ages = said.pop("observed", {})
    numerics = {name: numeric(name, value, ages.get(name, 0.5)) for name, value in said.items()}
    window = Window(UUID(int=1), SECOND, both, mask, MappingProxyType(numerics), Covariates(age_years=age))
    evidence = Evidence(at(1), at(1.05), window.input_hash, 1.0, 10.0)
    return Due(ExpectedSecond(UUID(int=1), BED, SECOND), window, circumstances, evidence, conflict or Conflict(), late)


def scored(value: float = 47.0, distance: float = 0.5) -> Scored:
    return Scored(value, max(0.0, value - 6), min(100.0, value + 6), distance, MODEL)


def verdict(one: Due, answer=None):
    found = before_model(one, LIMITS)
    return found[0] if found else after_model(one, answer if answer is not None else scored(), LIMITS)[0]


SPIKES = noise()
SPIKES[::2] += 60 * np.sign(np.sin(np.arange(SPAN_SAMPLES // 2)))
CUT = np.clip(noise(60), -40, 40)


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (due(covered_s=0), R.NO_EEG),
        (due(covered_s=19), R.NO_EEG),
        (due(eeg_lead_off=1), R.LEAD_OFF),
        (due(np.zeros(SPAN_SAMPLES, np.float32)), R.FLAT_UNVERIFIED),
        (due(sqi=14.9), R.SQI_LOW),
        (due(emg=55.1), R.EMG_HIGH),
        (due(CUT), R.CLIPPED),
        (due(age=17), R.AGE_OUT_OF_SCOPE),
        (due(age=None), R.AGE_UNKNOWN),
        (due(temperature=33.9), R.HYPOTHERMIA),
        (due(declared=frozenset({R.BYPASS})), R.BYPASS),
        (due(declared=frozenset({R.HYPOTHERMIA})), R.HYPOTHERMIA),
        (due(all_stale=True), R.STALE),
        (due(clock_doubt=True), R.CLOCK),
        (due(association_doubt=True), R.ASSOCIATION_DOUBT),
        (due(demo_refused=True), R.DEVICE_DEMO),
    ],
    ids=lambda x: str(x) if isinstance(x, RefusalReason) else "",
)
def test_what_needs_no_model_is_refused_with_its_reason(one, reason):
    record = verdict(one)

    assert isinstance(record, Refusal)
    assert record.reason is reason


def test_cautery_over_a_fifth_of_the_window_is_refused():
    eeg = noise()
    burst = np.random.default_rng(5).normal(0, 300, 20 * EEG_RATE_HZ).astype(np.float32)
    eeg[-25 * EEG_RATE_HZ : -5 * EEG_RATE_HZ] += burst

    record = verdict(due(eeg))

    assert isinstance(record, Refusal)
    assert record.reason is R.CAUTERY


@pytest.mark.parametrize("answer", [R.MODEL_UNAVAILABLE, R.MODEL_LATE])
def test_without_a_model_there_is_no_number_and_no_tier_d(answer):
    record = verdict(due(bis=45.0), answer)

    assert isinstance(record, Refusal)
    assert record.reason is answer


def test_clean_eeg_gives_tier_e_with_its_interval_and_model():
    record = verdict(due(tof_count=4), scored(47.0))

    assert isinstance(record, Prediction)
    assert (record.tier, record.value, record.low, record.high) == (Tier.E, 47.0, 41.0, 53.0)
    assert record.state is StateWord.GENERAL_RANGE
    assert record.model == MODEL
    assert record.caveats == ()


def test_unknown_age_is_scored_where_the_theatre_is_adult_only():
    assert isinstance(verdict(due(age=None, adult_only=True)), Prediction)


@pytest.mark.parametrize(
    "one",
    [
        due(covered_s=0, bis=46.0),
        due(eeg_lead_off=1, bis=46.0),
        due(np.zeros(SPAN_SAMPLES, np.float32), bis=46.0),
        due(emg=56.0, bis=46.0),
        due(CUT, bis=46.0),
    ],
)
def test_tier_d_repeats_the_devices_own_value_with_its_age(one):
    record = verdict(one)

    assert isinstance(record, Prediction)
    assert (record.tier, record.value) == (Tier.D, 46.0)
    assert record.device_index is not None
    assert record.evidence.observed_until == record.device_index.observed_at == at(0.5)
    assert record.instead_of_e is not None
    assert record.model is None


def test_an_unlike_signal_leaves_tier_d_open():
    record = verdict(due(bis=46.0), scored(distance=1.01))

    assert isinstance(record, Prediction)
    assert (record.tier, record.instead_of_e) == (Tier.D, R.OUT_OF_DISTRIBUTION)


@pytest.mark.parametrize("reason", ["all_stale", "clock_doubt", "association_doubt"])
def test_doubt_closes_every_tier(reason):
    assert isinstance(verdict(due(covered_s=0, bis=46.0, **{reason: True})), Refusal)


def test_an_index_from_before_the_eeg_was_lost_opens_no_tier_d():
    one = due(covered_s=0, bis=46.0, observed={"bis": -1.0}, eeg_lost_at=at(0))

    record = verdict(one)

    assert isinstance(record, Refusal)
    assert record.reason is R.NO_EEG


def test_a_device_index_of_zero_is_no_value():
    assert isinstance(verdict(due(covered_s=0, bis=0.0)), Refusal)
    assert isinstance(verdict(due(covered_s=0, bis=0.0, sqi=80.0, suppression_ratio=96.0)), Prediction)


def test_a_device_index_of_poor_quality_opens_no_tier_d():
    assert isinstance(verdict(due(covered_s=0, bis=46.0, sqi=10.0)), Refusal)


@pytest.mark.parametrize(
    ("one", "caveat"),
    [
        (due(tof_count=4, sqi=49), Caveat.SQI_FAIR),
        (due(tof_count=4, emg=30), Caveat.EMG_FAIR),
        (due(), Caveat.NMB_OR_UNKNOWN),
        (due(tof_count=1), Caveat.NMB_OR_UNKNOWN),
        (due(tof_count=4, ketamine_rate=3), Caveat.KETAMINE),
        (due(tof_count=4, n2o_end_tidal=50), Caveat.N2O),
        (due(tof_count=4, dexmedetomidine_rate=2), Caveat.DEXMEDETOMIDINE),
        (due(tof_count=4, sevoflurane_end_tidal=1.5), Caveat.VOLATILE_NOT_VALIDATED),
        (due(tof_count=4, age=70), Caveat.ELDERLY),
        (due(tof_count=4, late=True), Caveat.LATE_FEED),
    ],
    ids=lambda x: str(x) if isinstance(x, Caveat) else "",
)
def test_a_number_is_shown_with_the_words_that_belong_beside_it(one, caveat):
    record = verdict(one)

    assert isinstance(record, Prediction)
    assert record.caveats == (caveat,)


def test_a_conflict_of_sixty_seconds_is_refused_and_both_values_are_kept():
    one = due(bis=65.0, conflict=Conflict(SECOND - 59))

    record = verdict(one, scored(45.0))

    assert isinstance(record, Refusal)
    assert record.reason is R.CONFLICT_WITH_DEVICE
    assert record.withheld_value == 45.0
    assert record.device_index is not None
    assert record.device_index.value == 65.0


def test_a_conflict_of_fifty_nine_seconds_is_not_yet_one():
    record = verdict(due(bis=65.0, conflict=Conflict(SECOND - 58)), scored(45.0))

    assert isinstance(record, Prediction)


def test_one_second_of_agreement_ends_a_conflict():
    conflict = Conflict(SECOND - 500)

    _, after = after_model(due(bis=55.0, conflict=conflict), scored(45.0), LIMITS)

    assert after == Conflict()


def test_suppression_is_shown_without_a_network_number():
    eeg = noise()
    for start in range(0, 60, 4):  # 2 s of silence every 4 s
        eeg[start * EEG_RATE_HZ : (start + 2) * EEG_RATE_HZ] *= 0.05

    record = verdict(due(eeg, eeg_lead_off=0))

    assert isinstance(record, Refusal)
    assert record.suppression_ratio == pytest.approx(48, abs=5)


def test_suppression_without_proven_contact_is_not_claimed():
    eeg = noise()
    eeg[: 30 * EEG_RATE_HZ] *= 0.05

    record = verdict(due(eeg))

    assert record.suppression_ratio is None


def test_a_flat_line_with_proven_contact_is_shown_as_suppressed_not_scored():
    record = verdict(due(np.zeros(SPAN_SAMPLES, np.float32), eeg_lead_off=0))

    assert isinstance(record, Refusal)
    assert record.suppression_ratio == pytest.approx(100)


def test_a_record_names_the_window_it_rests_on():
    one = due()

    assert verdict(one).evidence.input_hash == one.window.input_hash
    assert replace(one.window, adaptation_state=b"x").input_hash != one.window.input_hash
