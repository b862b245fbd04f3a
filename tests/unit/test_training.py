"""The promises of the networks and of the split, on small signals; no recording is needed."""

import numpy as np
import pytest
import torch

from training.datasets import SAMPLES_PER_LABEL, DataMissing, Recording, folds_of, read_recordings, recording_of
from training.evaluate import space_of, windows_of
from training.export import scripted
from training.fit import state_targets
from training.frontend import FEATURES, FRAMES, SAMPLES, FrontEnd
from training.networks import DepthNetwork
from training.scorer import SUMMARY, Calibration, Scorer


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    return 10 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    torch.manual_seed(2)
    torch.set_num_threads(1)
    members = tuple(DepthNetwork(torch.zeros(FEATURES), torch.ones(FEATURES)) for _ in range(2))
    calibration = Calibration(torch.zeros(SUMMARY), torch.eye(SUMMARY), (2.0, 3.0), (5.0, 6.0))
    return Scorer(members, calibration).eval()


def test_gain_moves_only_the_level():
    eeg, ones = 20 * noise(1, SAMPLES), torch.ones(1, SAMPLES)

    plain, _ = FrontEnd()(eeg, ones)
    loud, _ = FrontEnd()(eeg * 2, ones)

    assert torch.allclose(loud[..., :-2], plain[..., :-2], atol=0.1)
    assert torch.allclose(loud[..., -2] - plain[..., -2], torch.tensor(6.02), atol=0.1)


def test_a_frame_that_lost_its_samples_does_not_count():
    mask = torch.ones(1, SAMPLES)
    mask[:, :1280] = 0

    features, counts = FrontEnd()(noise(1, SAMPLES), mask)

    assert counts.sum() == FRAMES - 10
    assert (features[counts == 0] == 0).all()


def test_what_lies_under_the_mask_is_never_seen(scorer):
    mask = torch.ones(1, 2, SAMPLES)
    mask[:, 1] = 0
    mask[:, 0, :3000] = 0
    eeg = noise(1, 2, SAMPLES)

    clean, spoiled = scorer(eeg * mask, mask), scorer(eeg * mask + 500 * (1 - mask), mask)

    assert all(torch.equal(one, other) for one, other in zip(clean, spoiled, strict=True))


def test_one_channel_says_the_same_in_either_place(scorer):
    eeg, off = noise(1, 1, SAMPLES), torch.zeros(1, 1, SAMPLES)
    on = torch.ones(1, 1, SAMPLES)

    first = scorer(torch.cat([eeg, off], 1), torch.cat([on, off], 1))
    second = scorer(torch.cat([off, eeg], 1), torch.cat([off, on], 1))

    assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(first, second, strict=True))


def test_answers_stay_in_their_ranges_even_without_any_sample(scorer):
    eeg, mask = torch.cat([noise(3, 2, SAMPLES) * 300, torch.zeros(1, 2, SAMPLES)]), torch.ones(4, 2, SAMPLES)
    mask[3] = 0

    index, low, high, state, distance = scorer(eeg, mask)

    assert bool(((low >= 0) & (low <= index) & (index <= high) & (high <= 100)).all())
    assert torch.allclose(state.sum(dim=1), torch.ones(4))
    assert float(distance[3]) > 1


def test_rows_of_a_batch_do_not_touch_each_other(scorer):
    eeg, mask = noise(5, 2, SAMPLES), torch.ones(5, 2, SAMPLES)
    broken = eeg.clone()
    broken[2] = torch.nan

    whole, spoiled = scorer(eeg, mask), scorer(broken, mask)

    kept = [0, 1, 3, 4]
    assert all(torch.allclose(one[kept], other[kept], atol=1e-4) for one, other in zip(whole, spoiled, strict=True))
    assert not torch.isfinite(spoiled[0][2])


def test_the_script_says_what_the_module_says(scorer):
    eeg, mask = noise(3, 2, SAMPLES), torch.ones(3, 2, SAMPLES)

    assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(scorer(eeg, mask), scripted(scorer)(eeg, mask), strict=True))


def test_state_targets_are_probabilities_that_follow_the_index():
    targets = state_targets(torch.tensor([95.0, 70.0, 50.0, 20.0, 80.0]))

    assert torch.allclose(targets.sum(dim=1), torch.ones(5), atol=1e-6)
    assert targets.argmax(dim=1)[:4].tolist() == [0, 1, 2, 3]
    assert float(targets[4, 0]) == pytest.approx(0.5)


def test_a_window_ends_at_its_label_and_holds_no_more_than_its_history():
    eeg = np.arange(20000, dtype=np.float32) + 1
    recording = Recording("case", eeg, np.array([3000, 15000]), np.array([90.0, 40.0], np.float32), "")

    windows, masks = next(windows_of(recording, 20))

    assert windows[:, -1].tolist() == [3000.0, 15000.0]
    assert masks.sum(dim=1).tolist() == [2560.0, 2560.0]
    assert windows[1, -2560] == 15000 - 2559


def test_no_case_is_held_out_twice_and_none_is_forgotten():
    cases = [f"case{number:02d}" for number in range(16)]

    folds = folds_of(cases[::-1])

    assert sorted(case for fold in folds for case in fold) == cases
    assert [len(fold) for fold in folds] == [4, 4, 4, 4]


def test_label_times_without_a_value_or_without_eeg_are_left_out(tmp_path):
    bis = np.array([50, 0, -1, 60, 70], np.int16)
    samples = int(4 * SAMPLES_PER_LABEL)
    np.savez(tmp_path / "case01.npz", eeg_counts=np.zeros(samples, np.int16), uv_per_count=np.float32(0.5), bis=bis)

    recording = recording_of(tmp_path / "case01.npz")

    assert recording.index.tolist() == [50, 60]
    assert recording.ends.tolist() == [624, 2498]


def test_absent_recordings_are_named(tmp_path):
    with pytest.raises(DataMissing, match="SOPOR_DATA"):
        read_recordings(tmp_path)


def test_the_space_of_known_windows_is_near_to_them_and_far_from_others():
    known = [torch.randn(500, SUMMARY, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]

    space = space_of(known)

    assert space.distance(torch.cat(known)).mean() == pytest.approx(SUMMARY**0.5, rel=0.15)
    assert space.distance(torch.full((1, SUMMARY), 5.0))[0] > 15
