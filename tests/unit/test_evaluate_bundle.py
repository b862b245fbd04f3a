"""A bundle judged end to end on a small folder of simulated cases; and that leaving a case out leaves all of it out."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from anesthesia.limits import Limits
from anesthesia.prediction import RefusalReason
from anesthesia.window import SPAN_SAMPLES
from backbone import bundle as bundles
from backbone.bundle import MANIFEST, METRICS, Bundle
from cli.exits import CommandFault, ExitCode
from cli.model import app, evaluate, reference_of
from model_server.runner import Scored
from model_server.tensors import NotFinite
from services.device_simulator.eeg import eeg_of
from training import leave_one_out
from training.answers import answers_of, window_at
from training.datasets import SAMPLES_PER_LABEL, DataMissing, Recording, read_recordings, read_table
from training.evaluate_bundle import SHIPPED, Request, answers_of_all, equals_metrics, evaluation, main_figures, seen_cases
from training.figures import plain
from training.fit import FitSettings

MODELS = Path(__file__).parents[2] / "model_server" / "models"
TINY = FitSettings(views=2, members=1, steps=2, batch=16)
SECONDS = 150


def course(case: int) -> np.ndarray:
    return np.interp(np.arange(SECONDS), (0, 40, 80, SECONDS), (94, 90, 45, 38 + case))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three cases in the layout of the recordings; the third lacks its first labels."""
    data, rows = tmp_path_factory.mktemp("recordings"), ["case,split,clip_uv,sex,age"]
    for case in (1, 2, 3):
        depth = course(case)
        eeg = eeg_of(depth, np.random.default_rng(case))[0]
        labels = int(eeg.size / SAMPLES_PER_LABEL)
        bis = np.round(np.interp((np.arange(labels) + 1) * 4.88, np.arange(SECONDS), depth)).astype(np.int16)
        bis[: 2 * (case == 3)] = -1
        counts = np.round(eeg / 0.05).astype(np.int16)
        np.savez(data / f"case{case:02d}.npz", eeg_counts=counts, uv_per_count=np.float32(0.05), fs_hz=np.float32(128), bis=bis)
        rows.append(f"{case},{'dev' if case < 3 else 'held'},125.0,{'F' if case == 1 else 'M'},{30 * case}")
    (data / "cases.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return data


@pytest.fixture(scope="module")
def recordings(folder) -> tuple[Recording, ...]:
    return read_recordings(folder)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return bundles.read(MODELS, reference_of("depth-eeg", MODELS))


class Fixed:
    """A model that says the newest sample of the first channel and 5 either side, and is far from everything above 90."""

    def score(self, windows):
        newest = [float(window.eeg[0, -1]) for window in windows]
        return [
            NotFinite("") if value < 0 else Scored(value, value - 5, value + 5, (0.25,) * 4, 2.0 if value > 90 else 0.5) for value in newest
        ]


def with_metrics(bundle: Bundle, recordings: tuple[Recording, ...], shipped: object) -> Bundle:
    """The same weights, as if they had been fitted on these recordings and had said this of them."""
    manifest = bundle.manifest.model_copy(update={"data_sha256": {one.case: one.sha256 for one in recordings}})
    metrics = json.loads(bundle.files[METRICS]) | {SHIPPED: shipped}
    return replace(bundle, manifest=manifest, files={**bundle.files, METRICS: json.dumps(metrics).encode(), MANIFEST: b""})


def test_a_window_ends_before_its_label_and_its_start_is_masked():
    eeg = np.arange(1, 20_001, dtype=np.float32)

    early, late = window_at(eeg, 1000), window_at(eeg, 15_000)

    assert (early.mask[0].sum(), late.mask[0].sum(), early.mask[1].sum()) == (1000, SPAN_SAMPLES, 0)
    assert (early.eeg_microvolt[0, -1], late.eeg_microvolt[0, -1], late.eeg_microvolt[0, 0]) == (1000, 15_000, 15_001 - SPAN_SAMPLES)


def test_what_the_gate_or_the_distance_refuses_is_not_shown_but_kept_apart():
    eeg = np.random.default_rng(1).normal(0, 10, 60 * 128).astype(np.float32)
    ends = np.array([10, 20, 30, 40, 50]) * 128
    eeg[ends - 1] = [50, 60, 95, 70, -1]
    recording = Recording("case01", eeg, ends, np.full(5, 60, np.float32), "")

    answers = answers_of(recording, Fixed(), 20, Limits())

    assert answers.raw.value.tolist()[:4] == [50, 60, 95, 70]
    assert np.isnan(answers.raw.value[4])
    assert answers.shown.scored.tolist() == [False, True, False, True, False]
    assert answers.shown.low[1] == 55
    assert answers.refused == {RefusalReason.NO_EEG: 1, RefusalReason.OUT_OF_DISTRIBUTION: 1, RefusalReason.MODEL_UNAVAILABLE: 1}


def test_the_command_judges_any_folder_of_that_layout(folder, bundle):
    result = CliRunner().invoke(app, ["evaluate", "--bundle", "depth-eeg", "--task", "eeg_to_bis", "--data", str(folder), "--json"])

    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["task"], found["cases"], found["seen_in_training"], found["bundle"]) == ("eeg_to_bis", 3, False, bundle.reference)
    assert found["label_times"] == 3 * 30 - 2
    assert found["hours"] == pytest.approx(88 * 4.8789 / 3600, abs=1e-3)
    assert 0.5 < found["scored_share"] < 1
    assert found["refused_share"]["no_eeg"] > 0
    assert found["mae"] < 20
    assert found["ci95"]["mae"][0] <= found["mae"] <= found["ci95"]["mae"][1]
    assert [row["case"] for row in found["per_case"]] == ["case01", "case02", "case03"]
    assert set(found["per_group"]["age"]) == {"below 40", "40 to 64", "65 and more"}
    assert found["per_group"]["sex"]["M"]["cases"] == 2
    assert found["per_phase"]["maintenance"]["mae"] is None
    assert found["baselines"]["pkpd_surface"] is None
    for name in ("constant", "persistence", "regressor", "openibis"):
        same = found["baselines"][name]["same_label_times"]
        assert same["share"] <= min(found["scored_share"], found["baselines"][name]["scored_share"]) + 1e-4
        assert set(same["bundle"]) == set(same["baseline"])
    assert found["equals_metrics_file"] is None


def test_a_split_is_chosen_by_its_name_and_an_unknown_one_is_told(folder):
    assert [one.case for one in read_recordings(folder, "held")] == ["case03"]
    with pytest.raises(DataMissing, match="known: dev, held"):
        read_recordings(folder, "test")


def test_the_folder_above_is_found_too_and_rows_are_by_case(folder, tmp_path):
    (tmp_path / "eeg_bis_24").symlink_to(folder)

    assert [one.sha256 for one in read_recordings(tmp_path)] == [one.sha256 for one in read_recordings(folder)]
    assert read_table(tmp_path)["case02"]["sex"] == "M"


def test_cases_that_the_weights_know_are_named_loudly(bundle, recordings, capsys):
    known = with_metrics(bundle, recordings[:1], None)

    assert seen_cases(known, recordings) == ["case01"]
    assert evaluation(known, Request(recordings[:2], {}, draws=20), lambda _: None)["seen_in_training"] is True


def test_a_repeated_evaluation_equals_the_metrics_file(bundle, recordings):
    figures = main_figures(answers_of_all(Fixed(), 20, recordings, lambda _: None))
    kept = with_metrics(bundle, recordings, plain(figures))
    other = with_metrics(bundle, recordings, {**plain(figures), "mae": figures["mae"] + 0.1})

    assert equals_metrics(kept, recordings, figures) is True
    assert equals_metrics(other, recordings, figures) is False
    assert equals_metrics(kept, recordings[:2], figures) is None
    assert equals_metrics(with_metrics(bundle, recordings, None), recordings, figures) is None


def test_leaving_a_case_out_leaves_its_labels_and_its_eeg_out(recordings, tmp_path):
    """Networks, normalisation and feature space of a case must be the same whatever the case itself holds."""
    torch.set_num_threads(1)
    first = recordings[0]
    other = replace(first, eeg=-3 * first.eeg[::-1].copy(), index=100 - first.index, sha256="other")
    changed = (other, *recordings[1:])

    before = leave_one_out.members_of(recordings, TINY, tmp_path / "before", lambda _: None)
    after = leave_one_out.members_of(changed, TINY, tmp_path / "after", lambda _: None)
    spaces = [leave_one_out.scorers_of(*pair) for pair in ((recordings, before), (changed, after))]

    for name, tensor in before[0][0].state_dict().items():
        assert torch.equal(tensor, after[0][0].state_dict()[name]), name
    assert torch.equal(spaces[0][0].centre, spaces[1][0].centre)
    assert torch.equal(spaces[0][0].whitening, spaces[1][0].whitening)
    assert not torch.equal(before[1][0].state_dict()["centre"], after[1][0].state_dict()["centre"])


def test_a_broken_run_goes_on_and_other_data_begin_anew(recordings, tmp_path):
    told: list[str] = []

    leave_one_out.members_of(recordings, TINY, tmp_path, told.append)
    (tmp_path / "case02.pt").unlink()
    leave_one_out.members_of(recordings, TINY, tmp_path, told.append)
    leave_one_out.members_of((replace(recordings[0], sha256="other"), *recordings[1:]), TINY, tmp_path, told.append)

    assert [text.split()[2].rstrip(",") for text in told] == ["case01", "case02", "case03", "case02", "case01", "case02", "case03"]


def test_two_cases_are_too_few_to_leave_one_out(recordings, tmp_path):
    with pytest.raises(DataMissing, match="at least 3"):
        leave_one_out.members_of(recordings[:2], TINY, tmp_path, print)


def test_a_bare_name_means_the_highest_version_by_number(tmp_path):
    for version in ("0.9.0", "0.10.0", "notes"):
        (tmp_path / "depth-eeg" / version).mkdir(parents=True)

    assert reference_of("depth-eeg", tmp_path) == "depth-eeg@0.10.0"
    assert reference_of("depth-eeg@0.9.0", tmp_path) == "depth-eeg@0.9.0"
    assert reference_of("other", tmp_path) == "other"


@pytest.mark.parametrize(
    ("bundle", "task", "code"),
    [("depth-eeg@9.9.9", "eeg_to_bis", ExitCode.NOT_FOUND), ("depth-eeg", "drugs_to_bis", ExitCode.USAGE)],
)
def test_what_cannot_be_judged_ends_with_its_code(bundle, task, code, tmp_path):
    with pytest.raises(CommandFault) as fault:
        evaluate(bundle=bundle, data=tmp_path, task=task)

    assert fault.value.code is code


def test_an_empty_folder_ends_with_6(tmp_path):
    with pytest.raises(CommandFault, match="no case") as fault:
        evaluate(bundle="depth-eeg", data=tmp_path)

    assert fault.value.code is ExitCode.NOT_FOUND
