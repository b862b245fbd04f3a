"""Fits the networks of a bundle: settings fixed beforehand, seeds fixed, cases never split.

`python -m training.fit --data ../shared/data --out model_server/models` fits four folds for the error, then all cases for the weights,
and writes the bundle. One thread: the same numbers come out again.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from training.augment import Views, views_of
from training.datasets import Recording, data_folder, folds_of, read_recordings
from training.descent import Descent, descended
from training.frontend import BANDS, FRAMES
from training.loss import index_loss
from training.networks import DepthNetwork

STATE_EDGES = (80.0, 60.0, 40.0)  # awake, light, general range, deep: the state words of the clinical rules
STATE_BLUR = 4.0  # index points; a label just above an edge is not surely that state


@dataclass(frozen=True, slots=True)
class FitSettings:
    """Everything that shapes a fit; written into metrics.json."""

    seed: int = 20260401
    views: int = 9
    members: int = 3
    steps: int = 600
    batch: int = 256
    rate: float = 2e-3
    decay: float = 2e-2
    dropout: float = 0.2
    truncated: float = 0.4  # share of windows with less history
    gapped: float = 0.3  # share of windows with gaps
    both: float = 0.3  # share of windows with two channels
    tilt_db: float = 1.0  # an amplifier's own frequency response


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Windows as the network sees them, and their labels."""

    features: Tensor
    counts: Tensor
    index: Tensor


def windows(views: Views, view: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return features [B, T, 29] and counts [B, T] of labels in the given views; before a case's start nothing counts."""
    rows = views.last[view, labels].unsqueeze(1) + torch.arange(1 - FRAMES, 1)
    first = views.first[view, labels].unsqueeze(1)
    counts = (rows >= first).to(torch.float32)
    features = views.features[torch.maximum(rows, first)]
    return features * counts.unsqueeze(2), counts


def state_targets(index: Tensor) -> Tensor:
    """Return state probabilities [B, 4] of labels whose own error is `STATE_BLUR` points."""
    above = [torch.special.ndtr((index - edge) / STATE_BLUR) for edge in STATE_EDGES]
    return torch.stack([above[0], above[1] - above[0], above[2] - above[1], 1.0 - above[2]], dim=1)


class Sampler:
    """Draws training batches: rare index ranges and short cases more often than their share; masks, gaps and channels at random."""

    def __init__(self, views: Views, cases: Tensor, settings: FitSettings, seed: int) -> None:
        """Prepare to draw from the labels of `cases`."""
        self._views, self._settings = views, settings
        self._labels = torch.nonzero(torch.isin(views.case, cases)).flatten()
        index, case = views.index[self._labels], views.case[self._labels]
        decade = (index / 10).long()
        of_decade = torch.bincount(decade, minlength=11)[decade]
        of_case = torch.bincount(case, minlength=int(case.max()) + 1)[case]
        self._weights = of_decade.float().pow(-0.5) * of_case.float().pow(-0.5)
        self._random = torch.Generator().manual_seed(seed)

    def _uniform(self, *size: int) -> Tensor:
        return torch.rand(*size, generator=self._random)

    def _masked(self, counts: Tensor) -> Tensor:
        """Shorten the history of some windows and tear gaps into others."""
        batch, frame = counts.size(0), torch.arange(FRAMES)
        history = 19 + (self._uniform(batch, 1) * (FRAMES - 19)).long()
        shorten = self._uniform(batch, 1) < self._settings.truncated
        kept = torch.where(shorten & (frame < FRAMES - history), 0.0, counts)
        gapped = self._uniform(batch, 1) < self._settings.gapped
        for _ in range(2):
            start = (self._uniform(batch, 1) * FRAMES).long()
            length = 2 + (self._uniform(batch, 1) * 8).long()
            kept = torch.where(gapped & (frame >= start) & (frame < start + length) & (frame < FRAMES - 2), 0.0, kept)
        return kept

    def _tilted(self, features: Tensor) -> Tensor:
        """Bend the spectra of each window by a smooth curve of its own; the bands keep zero mean."""
        knots = torch.randn(features.size(0), 1, 5, generator=self._random) * self._settings.tilt_db
        curve = nn.functional.interpolate(knots, size=BANDS, mode="linear", align_corners=True)
        level = curve.mean(dim=2, keepdim=True)
        quiet = torch.zeros_like(level)
        return features + torch.cat([curve - level, level, quiet], dim=2)

    def batch(self) -> Batch:
        """Return the next batch."""
        settings, size = self._settings, self._settings.batch
        labels = self._labels[torch.multinomial(self._weights, size, replacement=True, generator=self._random)]
        channels = []
        for _ in range(2):
            view = (self._uniform(size) * settings.views).long()
            features, counts = windows(self._views, view, labels)
            channels.append((self._tilted(features), self._masked(counts)))
        present = self._uniform(size)
        only_first = present < (1 - settings.both) / 2
        only_second = ~only_first & (present < 1 - settings.both)
        counts = torch.stack([channels[0][1] * ~only_second.unsqueeze(1), channels[1][1] * ~only_first.unsqueeze(1)], dim=1)
        features = torch.stack([channels[0][0], channels[1][0]], dim=1) * counts.unsqueeze(3)
        return Batch(features, counts, self._views.index[labels])


def loss_of(network: DepthNetwork, batch: Batch) -> Tensor:
    """Return the loss of a batch: of the index and its error's spread as always, of the state by cross entropy."""
    predicted, spread, logits = network(batch.features, batch.counts)
    state = nn.functional.cross_entropy(logits, state_targets(batch.index))
    loss: Tensor = index_loss(predicted, spread, batch.index) + 0.3 * state
    return loss


def normalisation(views: Views, cases: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation [29] of the features of these cases, all views."""
    labels = torch.nonzero(torch.isin(views.case, cases)).flatten()
    rows = views.features[views.last[:, labels].flatten()]
    return rows.mean(dim=0), rows.std(dim=0).clamp(min=0.05)


def fit_member(views: Views, cases: Tensor, settings: FitSettings, seed: int) -> DepthNetwork:
    """Return one network fitted on these cases (positions in the recordings), in evaluation mode."""
    torch.manual_seed(seed)
    network = DepthNetwork(*normalisation(views, cases), dropout=settings.dropout)
    sampler = Sampler(views, cases, settings, seed + 1)
    descent = Descent(settings.steps, settings.rate, settings.decay)
    return descended(network, lambda: loss_of(network, sampler.batch()), descent)


@dataclass(frozen=True, slots=True)
class Fitted:
    """All networks of one run: `folds[f]` never saw the cases of fold f, `whole` saw all."""

    settings: FitSettings
    hashes: dict[str, str]  # case to SHA-256 of its file
    folds: tuple[tuple[DepthNetwork, ...], ...]
    whole: tuple[DepthNetwork, ...]


def fit_without(views: Views, names: Sequence[str], held: Sequence[str], settings: FitSettings, fold: int) -> tuple[DepthNetwork, ...]:
    """Return the networks of one fold: fitted on the cases `names` (as in the views) but the held-out ones; `fold` moves the seeds."""
    cases = torch.tensor([position for position, name in enumerate(names) if name not in held])
    seeds = [settings.seed + 100 * (fold + 1) + member for member in range(settings.members)]
    return tuple(fit_member(views, cases, settings, seed) for seed in seeds)


def fit_all(recordings: tuple[Recording, ...], settings: FitSettings) -> Fitted:
    """Fit four folds for the error and all cases for the weights; some ten minutes of one core."""
    views = views_of(recordings, settings.views, settings.seed)
    names = [recording.case for recording in recordings]
    folds = [fit_without(views, names, held, settings, fold) for fold, held in enumerate(folds_of(names))]
    seeds = [settings.seed + member for member in range(settings.members)]
    whole = tuple(fit_member(views, torch.arange(len(names)), settings, seed) for seed in seeds)
    return Fitted(settings, {recording.case: recording.sha256 for recording in recordings}, tuple(folds), whole)


def save_fitted(fitted: Fitted, path: Path) -> None:
    """Write the networks for `training.export`: plain tensors and the settings, no code."""
    weights = [[network.state_dict() for network in members] for members in (*fitted.folds, fitted.whole)]
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"settings": asdict(fitted.settings), "hashes": fitted.hashes, "weights": weights}, path)


def restored(weights: dict[str, Tensor]) -> DepthNetwork:
    """Return the network of these weights, in evaluation mode."""
    network = DepthNetwork(weights["centre"], weights["spread"])
    network.load_state_dict(weights)
    return network.eval()


def load_fitted(path: Path) -> Fitted:
    """Read what `save_fitted` wrote."""
    content = torch.load(path, weights_only=True)
    members = [tuple(restored(weights) for weights in group) for group in content["weights"]]
    return Fitted(FitSettings(**content["settings"]), content["hashes"], tuple(members[:-1]), members[-1])


def main() -> None:
    """Fit, then evaluate and export."""
    parser = argparse.ArgumentParser(prog="python -m training.fit", description="Fit the depth model and write its bundle.")
    parser.add_argument("--data", type=Path, default=data_folder(), help="folder that holds eeg_bis_24 (default: SOPOR_DATA)")
    parser.add_argument("--out", type=Path, default=Path("model_server/models"), help="folder of bundles")
    parser.add_argument("--work", type=Path, default=Path("build/training"), help="where fitted.pt is kept for python -m training.export")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    save_fitted(fit_all(read_recordings(arguments.data), FitSettings()), arguments.work / "fitted.pt")
    from training.export import export  # it imports this module's types

    export(arguments.work / "fitted.pt", arguments.data, arguments.out)


if __name__ == "__main__":
    main()
