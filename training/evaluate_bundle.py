"""One bundle on one folder of recordings: every figure of `sopor model evaluate`, with the baselines beside it.

Shipped weights are run as the model server runs them. On cases that they were fitted on that measures memory, and the answer says so;
with `leave_one_case_out` the bundle's recipe is fitted anew for each case on the others.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anesthesia.errors import BadValue
from anesthesia.limits import Limits
from anesthesia.prediction import RefusalReason
from backbone.bundle import METRICS, Bundle
from model_server.runner import Runner
from training.answers import Answers, Eager, Model, answers_of
from training.baselines import Baseline, baselines_of, plainly
from training.datasets import LABEL_PERIOD_S, Recording
from training.figures import (
    SECONDS_PER_HOUR,
    STATISTICS,
    Figures,
    Said,
    agreement_of,
    ci95_of,
    false_reassurance,
    interval_of,
    mae_difference,
    per_case,
    per_phase,
    per_range,
    plain,
    resampled,
    share_of,
    where_both,
)
from training.fit import FitSettings
from training.leave_one_out import Tell, members_of, scorers_of

TASK = "eeg_to_bis"
SEED = 20260401
DRAWS = 1000
EQUAL_WITHIN = 1e-3  # between the frozen module of the server and the one that was exported
SHIPPED = "shipped"  # where metrics.json holds what the shipped weights said of the cases they were fitted on
OLDER_YEARS = (40, 65)

Table = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Request:
    """What to evaluate on: the cases, their rows of cases.csv, and other cases that baselines may be fitted on."""

    recordings: tuple[Recording, ...]
    table: Table
    known: tuple[Recording, ...] = ()
    seed: int = SEED
    draws: int = DRAWS


def _groups(row: Mapping[str, str]) -> dict[str, str]:
    """Return the groups that a case belongs to, as far as its row tells: rail of its amplifier, sex, age."""
    groups = {name: row[name] for name in ("clip_uv", "sex") if row.get(name)}
    if row.get("age"):
        place = sum(float(row["age"]) >= edge for edge in OLDER_YEARS)
        groups["age"] = ("below 40", "40 to 64", "65 and more")[place]
    return groups


def per_group(cases: Sequence[Said], table: Table) -> dict[str, dict[str, Figures]]:
    """Return cases and figures of each group of patients that cases.csv tells apart."""
    members: dict[str, dict[str, list[Said]]] = {}
    for case in cases:
        for name, value in _groups(table.get(case.case, {})).items():
            members.setdefault(name, {}).setdefault(value, []).append(case)
    return {
        name: {
            value: {"cases": len(of_group), "scored_share": share_of(of_group), **agreement_of(of_group), **interval_of(of_group)}
            for value, of_group in sorted(groups.items())
        }
        for name, groups in sorted(members.items())
    }


def beside(mine: Sequence[Said], baseline: Baseline, request: Request) -> Figures | None:
    """Return a baseline's figures, and both at the label times where both speak: nobody gains there by silence."""
    figures = plainly(baseline)
    if figures is None or baseline.said is None:
        return None
    ours, theirs = where_both(mine, baseline.said)
    count = sum(case.at_s.size for case in mine)
    same: Figures = {"share": sum(case.at_s.size for case in ours) / count if count else None}
    for name, cases in (("bundle", ours), ("baseline", theirs)):
        same[name] = {**agreement_of(cases), "false_reassurance": false_reassurance(cases, LABEL_PERIOD_S)}
    same["mae_bundle_minus_baseline"] = mae_difference(ours, theirs, request.seed, request.draws)
    ci95 = {name: resampled(baseline.said, STATISTICS[name], request.seed, request.draws) for name in ("mae", "ccc")}
    return {**figures, "ci95": ci95, "same_label_times": same}


def main_figures(answers: Sequence[Answers]) -> Figures:
    """Return the pooled figures of what was shown, and as if nothing had been refused."""
    shown, raw = [one.shown for one in answers], [one.raw for one in answers]
    label_times = sum(case.at_s.size for case in shown)
    refused: Counter[RefusalReason] = sum((one.refused for one in answers), Counter())
    return {
        "cases": len(shown),
        "hours": label_times * LABEL_PERIOD_S / SECONDS_PER_HOUR,
        "label_times": label_times,
        **agreement_of(shown),
        "scored_share": share_of(shown),
        "refused_share": {reason.value: count / label_times for reason, count in sorted(refused.items())},
        **interval_of(shown),
        "false_reassurance": false_reassurance(shown, LABEL_PERIOD_S),
        "if_nothing_were_refused": {**agreement_of(raw), **interval_of(raw)},
    }


def answers_of_all(model: Model, minimum_coverage_s: float, recordings: Sequence[Recording], tell: Tell) -> list[Answers]:
    """Return what one model answers on every case."""
    answers = []
    for recording in recordings:
        answers.append(answers_of(recording, model, minimum_coverage_s, Limits()))
        tell(f"{recording.case}: {recording.ends.size} label times, {100 * (share_of([answers[-1].shown]) or 0.0):.1f} % scored")
    return answers


def equals_metrics(bundle: Bundle, recordings: Sequence[Recording], figures: Figures) -> bool | None:
    """Tell whether these figures are those that the bundle's metrics.json holds of its shipped weights.

    None: it holds none, or they are of other cases.
    """
    known: dict[str, Any] | None = json.loads(bundle.files[METRICS]).get(SHIPPED)
    if known is None or {recording.sha256 for recording in recordings} != set(bundle.manifest.data_sha256.values()):
        return None
    return _near(known, plain(figures))


def _near(known: object, found: object) -> bool:
    if isinstance(known, dict) and isinstance(found, dict):
        return known.keys() == found.keys() and all(_near(value, found[name]) for name, value in known.items())
    if isinstance(known, float | int) and isinstance(found, float | int):
        return abs(known - found) <= EQUAL_WITHIN * max(1.0, abs(known))
    return known == found


def seen_cases(bundle: Bundle, recordings: Sequence[Recording]) -> list[str]:
    """Return the cases whose file is one that the bundle's weights were fitted on."""
    known = set(bundle.manifest.data_sha256.values())
    return [recording.case for recording in recordings if recording.sha256 in known]


def recipe_of(bundle: Bundle) -> FitSettings:
    """Return the settings that the bundle was fitted with; raise BadValue where they are not those of this version's fit."""
    settings = json.loads(bundle.files[METRICS]).get("settings")
    try:
        return FitSettings(**settings)
    except TypeError as fault:
        raise BadValue(
            f"{bundle.reference}: its metrics.json holds no settings that training.fit knows, so it cannot be fitted anew"
        ) from fault


def _answers(bundle: Bundle, recordings: Sequence[Recording], tell: Tell, refit_in: Path | None) -> list[Answers]:
    coverage_s = float(bundle.manifest.minimum_coverage_s)
    if refit_in is None:
        return answers_of_all(Runner(bundle), coverage_s, recordings, tell)
    scorers = scorers_of(recordings, members_of(recordings, recipe_of(bundle), refit_in, tell))
    pairs = zip(recordings, scorers, strict=True)
    return [one for recording, scorer in pairs for one in answers_of_all(Eager(scorer), coverage_s, [recording], tell)]


def evaluation(bundle: Bundle, request: Request, tell: Tell, *, refit_in: Path | None = None) -> dict[str, Any]:
    """Return the evaluation as one JSON object; with `refit_in` leave one case out, keeping the fitted networks there."""
    recordings = request.recordings
    answers = _answers(bundle, recordings, tell, refit_in)
    shown, main = [one.shown for one in answers], main_figures(answers)
    seen = seen_cases(bundle, recordings) if refit_in is None else []
    tell("baselines")
    baselines = baselines_of(recordings, request.known or recordings, request.seed)
    figures = plain(
        {
            "task": TASK,
            "bundle": bundle.reference,
            "digest": bundle.digest,
            "protocol": "shipped weights" if refit_in is None else "leave one case out: the recipe fitted anew for each case",
            "seen_in_training": bool(seen),
            "seen_cases": seen,
            **main,
            "per_case": per_case(shown),
            "per_range": per_range(shown),
            "per_phase": per_phase(shown),
            "per_group": per_group(shown, request.table),
            "ci95": ci95_of(shown, request.seed, request.draws),
            "baselines": {name: beside(shown, baseline, request) for name, baseline in baselines.items()},
            "equals_metrics_file": equals_metrics(bundle, recordings, main) if refit_in is None else None,
        }
    )
    assert isinstance(figures, dict)
    return figures
