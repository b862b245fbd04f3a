"""The only writer of bundles: calibrates, scripts, measures, and writes every file of `models/<name>/<version>/`.

`python -m training.export --work build/training --out model_server/models` repeats it from fitted networks.
"""

import argparse
import json
import warnings
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import numpy as np
import torch

from anesthesia.signal import EEG_CHANNELS, SIGNALS
from anesthesia.window import EEG_RATE_HZ
from backbone.bundle import CARD, GOLDEN, MANIFEST, METRICS, MODEL, SUMS, sums_of
from training.answers import Eager
from training.card import card_of
from training.controls import controls_of
from training.datasets import Recording, data_folder, folds_of, read_recordings
from training.evaluate import SHORT_S, Judged, distance_quantile, interval_quantile, out_of_fold, report, spaces_of
from training.evaluate_bundle import SHIPPED, answers_of_all, main_figures
from training.figures import plain
from training.fit import Fitted, load_fitted
from training.frontend import SAMPLES, WINDOW_S
from training.scorer import Calibration, Scorer
from training.simulated import GRID_UV, golden_windows, simulated_report

NAME = "depth-eeg"
VERSION = "0.1.0"
PARITY = 1e-3  # index points between the scripted and the eager module
OUTPUTS = (
    ("depth", "predicted-depth-index", "{score}", "[]"),
    ("low", "predicted-depth-index-low", "{score}", "[]"),
    ("high", "predicted-depth-index-high", "{score}", "[]"),
    ("state_probability", "state-probability", "1", "[4]"),
    ("out_of_distribution", "out-of-distribution", "1", "[]"),
)


class ExportFailed(Exception):
    """The scripted module does not say what the eager one says; nothing was written."""


def scripted(scorer: Scorer) -> torch.jit.ScriptModule:
    """Return the scorer as TorchScript."""
    with warnings.catch_warnings():
        # torch 2.13 deprecates every torch.jit call; the pinned version still does all of it.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        module = torch.jit.script(scorer.eval())
    assert isinstance(module, torch.jit.ScriptModule)
    return module


def bytes_of(module: torch.jit.ScriptModule) -> bytes:
    """Return the module's file without what torch adds for debugging: the paths of this machine's sources."""
    whole, kept = BytesIO(), BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # as above
        torch.jit.save(module, whole)
    with ZipFile(whole) as archive, ZipFile(kept, "w", ZIP_STORED) as stripped:
        for entry in archive.infolist():
            if not entry.filename.endswith((".debug_pkl", "/serialization_id")):
                stripped.writestr(entry, archive.read(entry))
    return kept.getvalue()


def opened(content: bytes) -> torch.jit.ScriptModule:
    """Return the module in a file."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # as above
        module = torch.jit.load(BytesIO(content), map_location="cpu")  # type: ignore[no-untyped-call]  # torch gives it no annotation
    assert isinstance(module, torch.jit.ScriptModule)
    return module


def manifest_text(fitted: Fitted) -> str:
    """Return manifest.toml."""
    lines = [
        f'name = "{NAME}"',
        f'version = "{VERSION}"',
        'parent = ""',
        'tiers = ["E"]',
        f"window_s = {WINDOW_S}",
        f"minimum_coverage_s = {SHORT_S}",
        f'torch = "{torch.__version__.split("+")[0]}"',
    ]
    for signal in EEG_CHANNELS:
        lines += ["", "[[inputs]]", f'signal = "{signal}"', 'kind = "signal"', f"rate_hz = {float(EEG_RATE_HZ)}"]
        lines += [f'unit = "{SIGNALS[signal].unit}"', f"samples = {SAMPLES}"]
    for name, code, unit, shape in OUTPUTS:
        lines += ["", "[[outputs]]", f'name = "{name}"', f'code = "{code}"', f'unit = "{unit}"', f"shape = {shape}"]
    lines += ["", "[data_sha256]", *(f'{case} = "{digest}"' for case, digest in sorted(fitted.hashes.items()))]
    return "\n".join(lines) + "\n"


def golden_bytes(module: torch.jit.ScriptModule, seed: int) -> bytes:
    """Return golden.npz: simulated windows as int16 with their scale, masks, and what the module answers."""
    eeg, mask = golden_windows(seed)
    with torch.inference_mode():
        answers = module(eeg, mask)
    buffer = BytesIO()
    arrays = {name: answer.numpy() for (name, *_), answer in zip(OUTPUTS, answers, strict=True)}
    counts = np.round(eeg.numpy() / GRID_UV).astype(np.int16)
    np.savez_compressed(buffer, eeg_counts=counts, uv_per_count=np.float32(GRID_UV), mask=mask.numpy().astype(np.uint8), **arrays)
    return buffer.getvalue()


def calibrated(recordings: tuple[Recording, ...], fitted: Fitted) -> tuple[Scorer, Judged, Judged]:
    """Return the scorer to ship, and the out-of-fold judgements of full and short histories that calibrate it.

    Its networks and its feature space are of all cases. The widths and limits are those of the out-of-fold networks and spaces, which
    know fewer cases: where that errs, it errs towards wider intervals and fewer refusals.
    """
    spaces = spaces_of(recordings, fitted)
    full, short = (out_of_fold(recordings, fitted, history_s, spaces) for history_s in (WINDOW_S, SHORT_S))
    space = spaces[-1]
    calibration = Calibration(
        space.centre,
        space.whitening,
        (interval_quantile(full), interval_quantile(short)),
        (distance_quantile(full), distance_quantile(short)),
    )
    return Scorer(fitted.whole, calibration), full, short


def metrics_of(recordings: tuple[Recording, ...], fitted: Fitted, full: Judged, short: Judged) -> dict[str, object]:
    """Return what the recordings say of the model: everything in metrics.json but the simulated part."""
    names = [recording.case for recording in recordings]
    return {
        "bundle": f"{NAME}@{VERSION}",
        "protocol": "leave four cases out, four folds, split by case; causal windows at lag 0; every label time with a value",
        "folds": [list(held) for held in folds_of(names)],
        "data_sha256": dict(sorted(fitted.hashes.items())),
        "settings": {name: getattr(fitted.settings, name) for name in fitted.settings.__slots__},
        "calibration": {
            "interval_full_and_20_s": [interval_quantile(full), interval_quantile(short)],
            "distance_full_and_20_s": [distance_quantile(full), distance_quantile(short)],
        },
        "full_history": report(full, names, fitted.settings.seed),
        "history_20_s": report(short, names, fitted.settings.seed),
        "controls": controls_of(recordings, fitted.settings.seed),
    }


def export(fitted_file: Path, data: Path, out: Path) -> Path:
    """Write the bundle and return its folder; raise ExportFailed when the scripted module disagrees with the eager one."""
    recordings, fitted = read_recordings(data), load_fitted(fitted_file)
    if {recording.case: recording.sha256 for recording in recordings} != fitted.hashes:
        raise ExportFailed(f"{fitted_file} was fitted on other files than those below {data}; fit again")
    scorer, full, short = calibrated(recordings, fitted)
    content = bytes_of(scripted(scorer))
    module = opened(content)  # from here on it is the file that is judged
    windows = golden_windows(fitted.settings.seed)
    with torch.inference_mode():
        gap = max(float((eager - frozen).abs().max()) for eager, frozen in zip(scorer(*windows), module(*windows), strict=True))
    if gap > PARITY:
        raise ExportFailed(f"the scripted module differs by {gap:.2g} index points from the eager one")
    shipped = main_figures(answers_of_all(Eager(module), SHORT_S, recordings, print))
    simulated = simulated_report(module, fitted.settings.seed)
    metrics = plain(metrics_of(recordings, fitted, full, short) | {SHIPPED: shipped, "simulated": simulated})
    assert isinstance(metrics, dict)
    files = {
        MODEL: content,
        MANIFEST: manifest_text(fitted).encode(),
        METRICS: (json.dumps(metrics, indent=1) + "\n").encode(),
        CARD: card_of(metrics).encode(),
        GOLDEN: golden_bytes(module, fitted.settings.seed),
    }
    folder = out / NAME / VERSION
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {**files, SUMS: sums_of(files).encode()}.items():
        (folder / name).write_bytes(content)
    return folder


def main() -> None:
    """Export from fitted networks."""
    parser = argparse.ArgumentParser(prog="python -m training.export", description="Evaluate fitted networks and write the bundle.")
    parser.add_argument("--data", type=Path, default=data_folder(), help="folder that holds eeg_bis_24 (default: SOPOR_DATA)")
    parser.add_argument("--out", type=Path, default=Path("model_server/models"), help="folder of bundles")
    parser.add_argument("--work", type=Path, default=Path("build/training"), help="where fitted.pt is")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    export(arguments.work / "fitted.pt", arguments.data, arguments.out)


if __name__ == "__main__":
    main()
