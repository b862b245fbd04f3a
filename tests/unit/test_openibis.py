"""OpenIBIS on hand-made signals. Several tests hold what public ports of the paper got wrong; each says which."""

import numpy as np
import pytest
from scipy.stats import trim_mean

from anesthesia.errors import BadValue
from anesthesia.openibis import FRAME, RATE_HZ, components_of, has_sawtooth, mixed, openibis, powers, suppressed, trimmed_mean

MINUTE = 60 * RATE_HZ


def coloured(slope: float, rms: float = 20.0, samples: int = 3 * MINUTE, seed: int = 1) -> np.ndarray:
    """Noise whose power falls with the frequency to the power of `slope` (in amplitude: half of it)."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).normal(size=samples))
    frequency = np.fft.rfftfreq(samples, 1 / RATE_HZ)
    shaped = np.fft.irfft(spectrum * np.maximum(frequency, 0.5) ** (-slope / 2), samples)
    return rms * shaped / shaped.std()


def sine(hertz: float, amplitude: float = 20.0, samples: int = 2 * MINUTE) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(samples) / RATE_HZ)


def saw(rise: int = 5, height: float = 60.0) -> np.ndarray:
    """Two quiet seconds with one K-complex-like rise in their middle."""
    segment = np.zeros(FRAME)
    segment[120 : 120 + rise] = height * np.arange(1, rise + 1) / rise
    return segment


def test_a_flat_line_is_suppressed_throughout_and_scores_zero():
    said = openibis(np.full(3 * MINUTE, 17.0))

    assert said.bsr[-1] == 100
    assert said.score[-1] == 0
    assert np.isnan(said.components).all()


def test_a_drifting_line_is_flat_too():
    assert suppressed(np.linspace(-300, 300, 128)[None])[0]
    assert not suppressed(np.linspace(-300, 300, 128)[None] + 8 * np.sin(np.arange(128)))[0]


def test_five_microvolt_is_the_edge_of_suppression():
    wave = np.tile([1.0, -1.0], 64)[None]

    assert suppressed(4.7 * wave)[0]
    assert not suppressed(5.3 * wave)[0]


def test_suppression_is_counted_over_63_seconds():
    loud, quiet = coloured(1.0, samples=2 * MINUTE), np.zeros(MINUTE // 2)

    said = openibis(np.concatenate([loud, quiet, loud]))

    # 30 s of the newest 63; a 1 s segment that touches loud samples at either end is no suppression
    assert said.bsr.max() == pytest.approx(100 * 30 / 63, abs=2)
    assert said.bsr[-1] == 0


def test_the_bins_of_noise_and_of_a_sine_add_up_to_their_power():
    white = np.random.default_rng(2).normal(0, 8.0, (500, FRAME))

    assert powers(white)[:, 4:].mean() == pytest.approx(8.0**2 / 128, rel=0.03)
    assert powers(sine(10.0)[None, :FRAME])[0].argmax() == 20
    assert powers(sine(10.0)[None, :FRAME])[0].sum() == pytest.approx(20.0**2 / 2, rel=0.01)


def test_a_pure_alpha_wave_has_all_its_power_below_the_fast_band():
    said = openibis(sine(10.0) + coloured(0.0, rms=0.05, samples=2 * MINUTE))

    assert said.components[-1, 1] < -30
    assert said.bsr[-1] == 0
    assert 0 < said.score[-1] < 60


def test_the_steeper_the_spectrum_the_deeper_the_score():
    scores = [float(np.nanmedian(openibis(coloured(slope)).score)) for slope in (1.0, 2.0, 3.0)]

    assert scores[0] > scores[1] + 10
    assert scores[1] > scores[2] + 10
    assert scores[0] > 90


def test_components_of_a_power_law_are_those_of_the_hand():
    frequency = np.maximum(np.arange(128) / 2, 0.5)
    power = np.tile(100.0 * frequency**-2, (60, 1))

    c1, _, c3 = components_of(power)[-1]

    decibel = 10 * np.log10(power[0])
    middle = np.sort(decibel[22:41])[-10:].mean()  # 11 to 20 Hz: 19 bins, of which 10 at or above their median
    assert c1 == pytest.approx(decibel[60:95].mean() - middle)
    assert c3 == pytest.approx(decibel[1:9].mean() - middle)


def test_gain_moves_no_component():
    eeg = coloured(1.5)

    plain, loud = openibis(eeg), openibis(4 * eeg)

    assert np.nanmax(np.abs(plain.components - loud.components)) < 1e-6


def test_one_matching_place_is_a_sawtooth():
    """One port asks that all positions match, which hardly ever happens."""
    assert has_sawtooth(saw()[None])[0]
    assert has_sawtooth(saw()[None, ::-1])[0]
    assert not has_sawtooth(sine(10.0)[None, :FRAME])[0]
    assert not has_sawtooth(coloured(1.0, samples=FRAME)[None])[0]


def test_a_small_sawtooth_is_noise():
    assert not has_sawtooth(saw(height=8.0)[None])[0]


def test_the_sawtooth_is_judged_by_the_variance_of_the_population():
    """One port divides by n - 1: a match of 0.635 becomes 0.625 then, below 0.63."""
    template = saw()[61:125]
    unit = (template - template.mean()) / template.std()
    other = np.random.default_rng(3).normal(size=64)
    other -= other.mean() + unit * (other @ unit) / 64
    place = 20 * (np.sqrt(0.635) * unit + np.sqrt(1 - 0.635) * other / other.std())
    quiet = np.concatenate([np.zeros(96), place, np.zeros(96)])

    assert (np.correlate(quiet, unit, "valid")[96] / 64) ** 2 / place.var() == pytest.approx(0.635)
    assert (np.correlate(quiet, unit, "valid")[96] / 64) ** 2 / place.var(ddof=1) < 0.63
    assert has_sawtooth(quiet[None])[0]


def test_a_sawtooth_takes_the_slow_bins_out():
    slow = coloured(1.0, rms=4.0, samples=2 * MINUTE)
    with_saws = slow.copy()
    for start in range(64, with_saws.size - FRAME, FRAME):
        with_saws[start : start + 64] += 25 * np.concatenate([np.zeros(59), np.arange(1, 6)])

    assert openibis(with_saws).components[-1, 2] < openibis(slow).components[-1, 2]


def test_the_general_line_ends_at_43_point_1():
    """One port writes 43 - 1; another makes a step of the line."""
    c2 = np.array([-60.89, -45.445, -30.0001, -20.0])
    components = np.stack([np.full(4, 100.0), c2, np.full(4, 5.0)], axis=1)

    said = mixed(components, np.zeros(4))

    sedation = 104.4 - 49.4 / (1 + np.exp((100 + 13.9) / 5.29))
    assert sedation > 100
    assert said[0] == pytest.approx(0.0)  # -40 is the floor of the scale
    assert said[1] == pytest.approx(10 * (1.55 + 40) / 50)  # half way, and the floor's own line
    assert said[2] == pytest.approx(43.1, abs=0.01)
    assert said[3] == pytest.approx(43.1 + 61.3 - 72.6 / (1 + np.exp(4 / 3.55)), abs=0.01)


def test_the_weight_of_general_grows_with_c3_only_where_general_is_lower():
    components = np.array([[-13.9, -30.001, 0.0], [-13.9, -30.001, 5.0], [-60.0, 0.0, 5.0]])

    said = mixed(components, np.zeros(3))

    sedation = 104.4 - 49.4 / 2
    assert said[0] == pytest.approx((sedation + 43.1) / 2, abs=0.01)
    assert said[1] == pytest.approx(43.1, abs=0.01)
    assert said[2] == pytest.approx(104.4 - 49.4 / (1 + np.exp(-46.1 / 5.29)), abs=0.01)


def test_suppression_takes_the_score_over_between_10_and_50_percent():
    awake = np.tile([100.0, 0.0, 0.0], (4, 1))

    said = mixed(awake, np.array([10.0, 30.0, 50.0, 100.0]))

    assert said[0] > 95
    assert said[1] == pytest.approx((said[0] + 35) / 2)
    assert said[2:].tolist() == [25.0, 0.0]


def test_a_missing_component_is_no_score_unless_suppression_decides():
    nothing = np.full((2, 3), np.nan)

    said = mixed(nothing, np.array([40.0, 60.0]))

    assert np.isnan(said[0])
    assert said[1] == 20.0


def test_a_quarter_is_trimmed_from_each_side():
    """One port trims half per side, which leaves nothing; another a fifth."""
    rows = np.random.default_rng(4).normal(size=(3, 60)) ** 3

    assert trimmed_mean(rows) == pytest.approx(trim_mean(rows, 0.25, axis=1))
    assert not np.allclose(trimmed_mean(rows), trim_mean(rows, 0.2, axis=1))
    assert np.isfinite(trimmed_mean(rows)).all()


def test_missing_rows_are_left_out_before_trimming():
    row = np.array([[np.nan, 1.0, 2.0, 3.0, 100.0, np.nan], [np.nan] * 6])

    assert trimmed_mean(row)[0] == 2.5
    assert np.isnan(trimmed_mean(row)[1])


def test_the_middle_band_is_averaged_over_time_before_its_upper_half_is_taken():
    """One port averages over the wrong axis: the upper half of the rows instead of that of the bins."""
    power = np.ones((60, 128))
    power[:30, 22:31] = 100.0  # each of nine bins is 20 dB for half of the time
    power[30:, 31:41] = 100.0  # and the other ten for the other half

    c1 = components_of(power)[-1, 0]

    assert c1 == pytest.approx(0.0 - 10.0)


@pytest.mark.parametrize(("spoilt", "end_strides"), [(400.0, 8.0), (np.nan, 8.5)], ids=["spectrum", "flag"])
@pytest.mark.parametrize("sample", [5120, 9120, 9183])
def test_spectrum_and_flag_end_where_the_paper_puts_them(sample, spoilt, end_strides):
    """One port shifts the segments. A loud sample is first seen by a spectrum, a missing one already by a suppression flag."""
    eeg = coloured(1.0, samples=2 * MINUTE)
    other = eeg.copy()
    other[sample] = spoilt

    whole, changed = openibis(eeg), openibis(other)

    first = int(np.flatnonzero(~np.isclose(changed.components, whole.components, equal_nan=True).all(axis=1))[0]) + 1
    assert (first - 1 + end_strides) * 64 <= sample < (first + end_strides) * 64
    assert (whole.ends == (np.arange(1, whole.ends.size + 1) + 8.5) * 64).all()
    assert whole.ends[-1] <= eeg.size


def test_nothing_behind_a_row_changes_it():
    eeg = coloured(1.5)
    other = eeg.copy()
    row = 150
    cut = int(openibis(eeg).ends[row])
    other[cut:] = 300.0

    before, after = openibis(eeg), openibis(other)

    assert np.array_equal(before.score[: row + 1], after.score[: row + 1], equal_nan=True)
    assert not np.array_equal(before.score[row + 1 :], after.score[row + 1 :], equal_nan=True)


def test_a_gap_silences_only_what_touches_it():
    eeg = coloured(1.5, samples=5 * MINUTE)
    torn = eeg.copy()
    torn[2 * MINUTE : 3 * MINUTE] = np.nan

    whole, gapped = openibis(eeg), openibis(torn)

    silent = np.isnan(gapped.score) & ~np.isnan(whole.score)
    assert 40 < silent.sum() < 120
    assert np.isfinite(gapped.score[-1])
    assert np.nanmax(np.abs(whole.score[-30:] - gapped.score[-30:])) < 1.0


def test_too_little_eeg_is_no_row_and_two_dimensions_are_refused():
    assert openibis(np.zeros(RATE_HZ)).score.size == 0
    with pytest.raises(BadValue):
        openibis(np.zeros((2, MINUTE)))
