"""The model card, written from metrics.json alone: no result in it is typed by hand."""

# ruff: noqa: E501  tables and paragraphs of Markdown are as long as they are

from collections.abc import Mapping
from typing import Any

from anesthesia.prediction import FIXED_TEXT

HEADINGS = ("Intended use", "Data", "Method", "Error on recordings", "Error on simulated EEG", "Uncertainty and refusal", "Limits")
WORDS = {
    "awake": "awake (80 and more)",
    "light": "light (60 to 80)",
    "general_range": "general range (40 to 60)",
    "deep": "deep (below 40)",
}

Figures = Mapping[str, Any]


def _interval(figures: Figures, name: str) -> str:
    low, high = figures[name]
    return f"{low:.2f} to {high:.2f}"


def _row(name: str, figures: Figures) -> str:
    cells = (
        f"{figures['mae']:.2f}",
        f"{figures['rmse']:.2f}",
        f"{figures['ccc']:.3f}",
        f"{figures['state_accuracy']:.3f}",
        f"{figures['macro_state_accuracy']:.3f}",
    )
    return f"| {name} | " + " | ".join(cells) + " |"


def _recordings(metrics: Figures) -> str:
    full, short, controls = metrics["full_history"], metrics["history_20_s"], metrics["controls"]
    states = "\n".join(
        f"| {WORDS[name]} | {full['mae_by_state'][name]:.2f} | {short['mae_by_state'][name]:.2f} | {full['state_recall'][name]:.3f} "
        f"| {full['coverage_by_state'][name]:.3f} |"
        for name in WORDS
    )
    cases = "\n".join(
        f"| {case} | {error:.2f} | {full['coverage_by_case'][case]:.3f} | {full['scored_share_by_case'][case]:.3f} |"
        for case, error in full["mae_by_case"].items()
    )
    return f"""\
Four folds of four cases, split by case; every figure below is of networks that never saw the case. {full["label_times"]} label times, no
shift between EEG and label, no label time left out. Reference: the index that the device showed, so "better than the device" cannot be
told from this. In brackets 95 % intervals by bootstrap over cases.

| model | MAE | RMSE | CCC | 4-state accuracy | macro |
|---|---|---|---|---|---|
{_row("this bundle, 60 s of history", full)}
{_row("this bundle, exactly 20 s of history", short)}
{_row("ridge on 600 random Fourier features of the same spectra, same folds", controls["ridge_on_random_fourier_features"])}
{_row("constant: median of the other cases", controls["constant_median"])}

60 s: MAE {full["mae"]:.2f} ({_interval(full, "mae_interval")}), CCC {full["ccc"]:.3f} ({_interval(full, "ccc_interval")}).
20 s: MAE {short["mae"]:.2f} ({_interval(short, "mae_interval")}), CCC {short["ccc"]:.3f} ({_interval(short, "ccc_interval")}).
Mean of the cases' own MAE {full["mae_mean_of_cases"]:.2f}, median {full["mae_median_of_cases"]:.2f}. Bland-Altman bias {full["bias"]:.2f},
limits {full["limit_low"]:.1f} to {full["limit_high"]:.1f}.

| state of the reference | MAE, 60 s | MAE, 20 s | share found, 60 s | 90 % interval holds, 60 s |
|---|---|---|---|---|
{states}

| case | MAE | 90 % interval holds | share scored |
|---|---|---|---|
{cases}"""


def _simulated(metrics: Figures) -> str:
    simulated = metrics["simulated"]
    states = ", ".join(
        f"{WORDS[name]} {error:.1f} (bias {simulated['bias_by_state'][name]:+.1f})" for name, error in simulated["mae_by_state"].items()
    )
    return f"""\
The device simulator's EEG of {simulated["patients"]} courses ({simulated["windows"]} windows, two channels, from 20 s of history on) against the
simulator's own state at the window's end: MAE {simulated["mae"]:.2f}, RMSE {simulated["rmse"]:.2f}, CCC {simulated["ccc"]:.3f}; by state: {states}.
The 90 % interval holds {simulated["coverage"]:.3f}. {100 * simulated["refused_share"]:.1f} % of windows without suppression are refused as out of
distribution. Nothing was fitted on simulated EEG; these figures say how the simulator looks to the model, not how the model does on patients."""


def _unlike(metrics: Figures) -> str:
    """Return the signals that are no EEG as rows of a table."""
    return "\n".join(
        f"| {name} | {said['distance']:.1f} | {said['depth']:.0f} |" for name, said in metrics["simulated"]["unlike_eeg"].items()
    )


def _uncertainty(metrics: Figures) -> str:
    full, short, calibration = metrics["full_history"], metrics["history_20_s"], metrics["calibration"]
    return f"""\
- 90 % interval: split-conformal. Half width = the networks' own estimate of their error x {calibration["interval_full_and_20_s"][0]:.2f} at 60 s of
  history and {calibration["interval_full_and_20_s"][1]:.2f} at 20 s, a straight line between. Both factors are quantiles of out-of-fold errors, each case
  weighing the same. Judged with the factor of the other fifteen cases it holds {full["coverage"]:.3f} of label times ({short["coverage"]:.3f} at
  20 s); least in one case {min(full["coverage_by_case"].values()):.3f}. Median width {full["interval_width_median"]:.1f} points.
- Out of distribution: Mahalanobis distance of the window's mean spectrum and its variation from those of the recordings, over the 99th
  percentile of out-of-fold distances (each case weighing the same). Above 1 the scorer refuses. Judged with the limit of the other fifteen
  cases {full["scored_share"]:.3f} of label times are scored, with MAE {full["mae_scored"]:.2f} ({short["scored_share"]:.3f} at 20 s).
- The factors and the limit are of fold networks that know twelve cases; the shipped networks know sixteen.
- State probabilities are the networks' own; the word shown is that of the value. Their most likely state is right in
  {full["state_accuracy_of_probabilities"]:.3f} of label times.
- No forecast.

Signals that are no EEG, 60 s on both channels; at a distance of 1 or less the scorer does not refuse and relies on the other rules:

| signal | distance | index |
|---|---|---|
{_unlike(metrics)}"""


def card_of(metrics: Figures) -> str:
    """Return MODEL_CARD.md."""
    settings = metrics["settings"]
    texts = (
        f"""\
A number from 0 (isoelectric) to 100 (awake) from the newest 60 s of frontal EEG, for tier E. {FIXED_TEXT}""",
        f"""\
Fitted and judged on {len(metrics["data_sha256"])} surgical patients with raw frontal EEG and a device's index: figshare item 5589841, "EEG and BIS raw
data", National Taiwan University Hospital; Liu, Ma, Fan, Abbod, Shieh, PeerJ 2018;6:e4817 (CC BY 4.0). Changes: windows, masks,
resampling within 3 %, gain, noise, hum and clipping for fitting. The files' hashes are in manifest.toml. No recording is in the bundle:
the golden vectors are simulated.""",
        f"""\
Log powers of 27 bands (0.5 to 46.5 Hz) in 2 s frames each second, each frame's mean taken out and given apart, and the share of quiet half
seconds; one encoder for both channels, whose present outputs are averaged; causal dilated convolutions over 59 frames; mean of
{settings["members"]} networks, {settings["steps"]} steps of {settings["batch"]} windows each, seed {settings["seed"]}. Fitted with random histories of 20 to 60 s, gaps, one or
two channels, and changed amplifiers. The settings were not searched; one trial of the pipeline with a
single shorter network on the same folds came before. Label times without a value (0 or below) are left out. Repeat: `python -m training.fit --data DATA --out model_server/models`.""",
        _recordings(metrics),
        _simulated(metrics),
        _uncertainty(metrics),
        """\
- Adults, propofol-like maintenance, one hospital, one device, frontal EEG; what the patients were given is not recorded.
- No burst suppression: almost no label lies below 25, and none below 20. A suppressed EEG is the suppression rule's, not this model's.
- Not validated: volatile agents, ketamine, nitrous oxide, dexmedetomidine, children, neurological disease, hypothermia.
- The recordings have one channel. Two channels were imitated by a second view of the same one.
- The recordings' clock is 128 or 125 Hz; this cannot be settled, so spectra may be 2.4 % off.
- The reference lags the EEG by seconds to a minute and smooths it; so does this index.
- Broadband noise looks like muscle and so like being awake (see the table above); the distance does not catch it.
- For some patients the interval holds far less than its 90 % (see the least above): it is a promise over patients, not for each.
- Muscle activity reads as a higher index, as it does in the reference; an awake paralysed patient can read low.""",
    )
    sections = "\n\n".join(f"## {heading}\n\n{text}" for heading, text in zip(HEADINGS, texts, strict=True))
    return f"# {metrics['bundle']}\n\n{sections}\n"
