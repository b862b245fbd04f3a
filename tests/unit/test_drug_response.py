"""The promises of the drug path: causal, monotone, without leakage. On made-up courses; no recording is needed."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from anesthesia.pharmacology import Covariates, Sex
from training.datasets import DataMissing
from training.drug_courses import simulated_trends
from training.drug_history import PATIENT, PROPOFOL_SITES, REMIFENTANIL_SITES, history_of
from training.drug_network import DrugResponse, Ensemble
from training.evaluate_drugs import cases_of, judged_by, minute_ago, phases_of, report, surface, width_of
from training.fit_drugs import DrugFitSettings, fit_drugs, rows_of
from training.tci import SPLITS, SplitLeak, TrendSet, believed, history_is_complete, infused

RECORDED = Path(os.environ.get("SOPOR_DATA", Path(__file__).parents[3] / "shared" / "data")) / "vitaldb_tci_10s"
WOMAN = Covariates(age_years=64, weight_kg=58, height_cm=157, sex=Sex.FEMALE)
MEASURED = ("bis", "ppf20_ml_h", "rftn20_ml_h", "hr_bpm", "mbp_mmhg")


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def courses(seed: int, intervals: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    propofol = np.repeat(rng.uniform(0, 15, intervals // 10), 10) * (np.arange(intervals) > 8)
    return propofol, np.repeat(rng.uniform(0, 12, intervals // 10), 10)


def network(columns: int, seed: int = 3) -> DrugResponse:
    torch.manual_seed(seed)
    made = DrugResponse(torch.zeros(columns), torch.ones(columns)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.3)
    return made


def test_the_past_of_a_history_does_not_depend_on_its_future():
    propofol, remifentanil = courses(1)
    changed = propofol.copy(), remifentanil.copy()
    changed[0][120:], changed[1][120:] = 90.0, 0.0

    before, after = history_of(WOMAN, propofol, remifentanil), history_of(WOMAN, *changed)

    for name in ("propofol", "remifentanil", "context", "minutes"):
        assert np.allclose(getattr(before, name)[:120], getattr(after, name)[:120], atol=1e-9)
        assert name == "minutes" or not np.allclose(getattr(before, name)[120:], getattr(after, name)[120:])


def test_more_of_either_drug_never_raises_the_index():
    torch.manual_seed(5)
    context = torch.randn(10_000, 12)
    propofol, remifentanil = 6 * torch.rand(10_000, PROPOFOL_SITES), 8 * torch.rand(10_000, REMIFENTANIL_SITES)
    more = propofol + 3 * torch.rand_like(propofol), remifentanil + 4 * torch.rand_like(remifentanil)
    answers = Ensemble((network(12, seed=3), network(12, seed=4))).eval()

    with torch.inference_mode():
        index, _ = answers(propofol, remifentanil, context)
        deeper, _ = answers(more[0], more[1], context)

    assert int((deeper > index + 1e-4).sum()) == 0
    assert float((index - deeper).mean()) > 1.0


def test_without_history_no_dose_ever_given_raises_the_index_later():
    propofol, remifentanil = courses(2)
    extra = propofol.copy()
    extra[40:50] += 30.0
    answers = network(PATIENT)

    said = []
    for course in (propofol, extra):
        history = history_of(WOMAN, course, remifentanil)
        parts = (torch.from_numpy(part.astype(np.float32)) for part in (history.propofol, history.remifentanil, history.context))
        with torch.inference_mode():
            said.append(answers(*parts)[0])

    assert bool((said[1] <= said[0] + 1e-4).all())
    assert float((said[0] - said[1])[40:].max()) > 0.5


def test_the_script_says_what_the_network_says():
    made = network(12)
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        script = torch.jit.script(made)
    parts = torch.rand(7, PROPOFOL_SITES), torch.rand(7, REMIFENTANIL_SITES), torch.randn(7, 12)

    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(made(*parts), script(*parts), strict=True))


def test_a_silent_pump_counts_for_a_minute_and_before_its_first_word_not_at_all():
    rate = np.array([np.nan, np.nan, 12.0, *[np.nan] * 9, 5.0])

    filled = infused(rate)

    assert filled.tolist() == [0, 0, 12, 12, 12, 12, 12, 12, 12, 0, 0, 0, 5]


def test_a_history_is_incomplete_after_a_long_silence_between_two_rates_only():
    short, long = np.array([1.0, *[np.nan] * 5, 2.0, 3.0]), np.array([1.0, *[np.nan] * 9, 2.0, 3.0])

    assert history_is_complete(short).all()
    assert history_is_complete(long).tolist() == [True] * 10 + [False] * 2
    assert history_is_complete(np.array([np.nan, 1.0, *[np.nan] * 20])).all()


def test_an_artefact_of_the_arterial_line_takes_its_neighbours_with_it():
    pressure = np.array([80.0, 81, 82, 290, 84, 85, np.nan, 86])

    clean = believed(pressure, (30.0, 160.0), ramp=1)

    assert np.isnan(clean).tolist() == [False, False, True, True, True, False, True, False]


def trend_folder(tmp_path, rows: list[tuple[int, int, str, float]]):
    folder = tmp_path / "vitaldb_tci_10s"
    folder.mkdir()
    with (folder / "cases.csv").open("w") as file:
        writer = csv.writer(file)
        writer.writerow(("caseid", "subjectid", "split", "age", "sex", "height", "weight"))
        writer.writerows((case, subject, split, age, "F", 160, 60) for case, subject, split, age in rows)
    columns = {name: np.arange(4 * len(rows), dtype=np.float32) for name in MEASURED}
    np.savez(folder / "series.npz", caseid=np.array([row[0] for row in rows]), offset=4 * np.arange(len(rows) + 1), **columns)
    return tmp_path


def test_each_split_gives_its_own_adults_and_zero_is_no_index(tmp_path):
    data = trend_folder(tmp_path, [(7, 1, "train", 40), (8, 2, "test", 70), (9, 3, "test", 9)])

    recorded = TrendSet(data)

    assert (recorded.caseids("train"), recorded.caseids("test")) == ((7,), (8,))
    assert np.isnan(recorded.trend(7).index[0])
    assert recorded.trend(8).propofol_ml_h.tolist() == [4, 5, 6, 7]
    assert recorded.digest("train") != recorded.digest("test")


def test_a_patient_in_two_splits_is_refused(tmp_path):
    data = trend_folder(tmp_path, [(7, 1, "train", 40), (8, 1, "test", 40)])

    with pytest.raises(SplitLeak, match="1 patients"):
        TrendSet(data)


def test_absent_trends_are_named(tmp_path):
    with pytest.raises(DataMissing, match="SOPOR_DATA"):
        TrendSet(tmp_path)


@pytest.mark.skipif(not RECORDED.is_dir(), reason=f"the recordings are not present at {RECORDED}")
def test_the_recorded_splits_share_no_patient_and_leave_out_only_who_is_out_of_scope():
    recorded = TrendSet(RECORDED.parent)

    counts = {split: len(recorded.caseids(split)) for split in SPLITS}
    patients = {split: {trend.patient for trend in recorded.trends(split)} for split in SPLITS}

    assert counts == {"train": 813, "valid": 215, "test": 122}
    assert not patients["train"] & patients["test"]
    assert not patients["valid"] & (patients["train"] | patients["test"])


@pytest.fixture(scope="module")
def simulated():
    return tuple(simulated_trends(40, seed=11, intervals=700))


def test_simulated_patients_fall_asleep_are_kept_there_and_wake(simulated):
    first = np.array([trend.index[0] for trend in simulated])
    asleep = np.array([np.median(trend.index[90:-60]) for trend in simulated])

    assert np.median(first) > 90
    assert 35 < np.median(asleep) < 55
    assert np.median([trend.index[-1] for trend in simulated]) > 65


def test_the_same_seed_simulates_the_same_patients():
    one, other = (next(simulated_trends(3, seed=5, intervals=300)) for _ in range(2))

    assert np.array_equal(one.index, other.index)
    assert one.who == other.who


def test_a_short_fit_learns_more_than_the_median_and_its_interval_holds(simulated):
    settings = DrugFitSettings(members=1, epochs=6, batch=512)
    known, calibration, unseen = simulated[:24], cases_of(simulated[24:32]), cases_of(simulated[32:])

    fitted = fit_drugs(rows_of(known), settings)
    judged = tuple(judged_by(fitted, case, width_of(fitted, calibration)) for case in unseen)
    figures = report("drugs_to_bis", judged, seed=1)

    assert figures["ccc"] > 0.3
    assert 0.7 < figures["interval_coverage_90"] <= 1.0
    assert set(figures["per_phase"]) <= {"induction", "maintenance", "recovery"}
    assert all(set(case) == {"mae", "labels"} for case in figures["per_case"])


def test_phases_and_controls_follow_the_case(simulated):
    case = cases_of(simulated[:1])[0]

    phases, ago = phases_of(case), minute_ago(case)
    started = int(np.argmax(case.trend.propofol_mg_min > 0))

    assert (phases[: started + 90] == 0).all()
    assert (phases[np.flatnonzero(case.trend.propofol_mg_min > 0)[-1] + 1 :] == 2).all()
    assert np.isnan(ago[:6]).all()
    assert ago[6] == case.trend.index[0]
    assert surface(case)[started - 1] > surface(case)[started + 30]
