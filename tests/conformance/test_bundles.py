"""Every bundle that ships: sums, manifest, golden vectors, card and figures; and, where the recordings are, that they are those named."""

import json
import re
import tomllib
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch

from anesthesia.agreement import mean_absolute_error
from anesthesia.prediction import FIXED_TEXT
from anesthesia.signal import SIGNALS
from anesthesia.window import EEG_RATE_HZ, WINDOW_S
from backbone import bundle as bundles
from backbone.bundle import Bundle
from model_server.runner import Runner
from model_server.tensors import Window
from services.device_simulator.eeg import eeg_of
from training.card import HEADINGS, card_of
from training.datasets import data_folder, read_recordings
from training.evaluate import windows_of
from training.simulated import golden_windows

MODELS = Path(__file__).parents[2] / "model_server" / "models"
REFERENCES = [f"{folder.parent.name}@{folder.name}" for folder in sorted(MODELS.glob("*/*/"))]
SAMPLES = EEG_RATE_HZ * WINDOW_S


@pytest.fixture(scope="module", params=REFERENCES)
def bundle(request) -> Bundle:
    return bundles.read(MODELS, request.param)


@pytest.fixture(scope="module")
def runner(bundle) -> Runner:
    return Runner(bundle)


@pytest.fixture(scope="module")
def metrics(bundle):
    return json.loads(bundle.files["metrics.json"])


def recordings_or_skip():
    if not (data_folder() / "eeg_bis_24").is_dir():
        pytest.skip(f"the recordings are not at {data_folder()}; SOPOR_DATA names their folder")
    return read_recordings(data_folder())


def test_there_is_a_bundle():
    assert REFERENCES


def test_the_manifest_speaks_of_known_signals_in_their_units(bundle):
    for given in bundle.manifest.inputs:
        assert SIGNALS[given.signal].unit == given.unit
        assert (given.rate_hz, given.samples) == (EEG_RATE_HZ, SAMPLES)
    assert bundle.manifest.window_s == WINDOW_S
    assert bundle.manifest.minimum_coverage_s <= 30


def test_the_manifest_names_the_installed_torch(bundle):
    assert bundle.manifest.torch == torch.__version__.split("+", maxsplit=1)[0]


def test_the_bundle_is_small(bundle):
    assert sum(map(len, bundle.files.values())) < 5_000_000
    assert len(bundle.files["golden.npz"]) < 2_000_000


def test_the_model_holds_no_path_of_the_machine_that_made_it(bundle):
    with ZipFile(BytesIO(bundle.files["model.ts"])) as archive:
        contents = [archive.read(name) for name in archive.namelist()]

    assert not any(str(MODELS.parents[1]).encode() in content or b"site-packages" in content for content in contents)


def test_the_golden_vectors_come_out_here(bundle):
    Runner(bundle)


def test_the_golden_windows_are_simulated_on_a_grid_and_masked_in_four_ways(bundle):
    with np.load(BytesIO(bundle.files["golden.npz"])) as golden:
        mask, counts = golden["mask"], golden["eeg_counts"]

    eeg, fresh_mask = golden_windows(json.loads(bundle.files["metrics.json"])["settings"]["seed"])
    assert np.array_equal(mask, fresh_mask.numpy())
    assert not counts[mask == 0].any()
    assert len({tuple(row.sum(axis=1)) for row in mask}) >= 4
    assert eeg.shape == counts.shape


def test_the_card_has_every_heading_the_attribution_and_the_fixed_text(bundle):
    card = bundle.files["MODEL_CARD.md"].decode()

    assert re.findall(r"^## (.+)$", card, re.MULTILINE) == list(HEADINGS)
    for words in ("5589841", "PeerJ 2018;6:e4817", "CC BY 4.0", "burst suppression", "children", "ketamine", FIXED_TEXT):
        assert words in card


def test_the_card_is_what_the_metrics_say(bundle, metrics):
    assert bundle.files["MODEL_CARD.md"].decode() == card_of(metrics)


def test_error_is_reported_by_case_at_both_histories_with_controls(bundle, metrics):
    held_out = [case for fold in metrics["folds"] for case in fold]

    assert sorted(held_out) == sorted(bundle.manifest.data_sha256) == sorted(metrics["data_sha256"])
    for history in ("full_history", "history_20_s"):
        assert set(metrics[history]["mae_by_case"]) == set(held_out)
        assert metrics[history]["mae"] < metrics["controls"]["constant_median"]["mae"]
        assert 0.88 <= metrics[history]["coverage"] <= 0.95
    assert metrics["full_history"]["mae"] < metrics["controls"]["ridge_on_random_fourier_features"]["mae"]


def test_clean_simulated_eeg_is_hardly_ever_refused(metrics):
    assert metrics["simulated"]["refused_share"] <= 0.03


def test_a_deeper_simulated_patient_reads_lower(runner):
    courses = [eeg_of(np.full(WINDOW_S, float(depth)), np.random.default_rng(seed)) for depth in (90, 65, 45, 33) for seed in range(6)]

    answers = runner.score([Window(eeg.astype(np.float32), np.ones((2, SAMPLES), np.float32)) for eeg in courses])

    values = np.array([answer.value for answer in answers]).reshape(4, 6).mean(axis=1)
    assert (np.diff(values) < 0).all()


def test_signals_that_are_no_eeg_are_far_away(runner):
    time_s = np.arange(SAMPLES) / EEG_RATE_HZ
    signals = [
        np.zeros(SAMPLES),
        20 * np.sin(2 * np.pi * 10 * time_s),
        20 * np.sin(2 * np.pi * 50 * time_s),
        50 * np.sign(np.sin(2 * np.pi * time_s)),
    ]

    answers = runner.score([Window(np.stack([s, s]).astype(np.float32), np.ones((2, SAMPLES), np.float32)) for s in signals])

    assert all(answer.out_of_distribution > 1 for answer in answers)


def test_the_recordings_are_those_the_bundle_was_fitted_on(bundle):
    recordings = recordings_or_skip()

    assert {recording.case: recording.sha256 for recording in recordings} == bundle.manifest.data_sha256


def test_on_the_recordings_it_was_fitted_on_the_error_is_below_the_one_reported(runner, metrics):
    recordings = recordings_or_skip()
    said, known = [], []

    for recording in recordings[::5]:
        eeg, mask = next(windows_of(recording, WINDOW_S))
        for row in range(60, 160):
            both = np.stack([eeg[row].numpy(), np.zeros(SAMPLES, np.float32)]), np.stack([mask[row].numpy(), np.zeros(SAMPLES, np.float32)])
            said.append(runner.score([Window(*both)])[0].value)
            known.append(recording.index[row])

    assert mean_absolute_error(np.array(known, float), np.array(said)) < 1.25 * metrics["full_history"]["mae"]


def test_no_manifest_says_latest(bundle):
    manifest = tomllib.loads(bundle.files["manifest.toml"].decode())

    assert re.fullmatch(r"\d+\.\d+\.\d+", manifest["version"])
    assert manifest["tiers"] == ["E"]
