"""A forecast of the index some minutes ahead, as quantiles, from its own past, the drugs given so far and the circulation. Causal.

It must beat persistence, the index shown last: whoever forecasts a slow signal is right most of the time without knowing anything.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from anesthesia.pharmacology import Floats
from training.descent import Descent, descended
from training.drug_history import NEGLIGIBLE_UG_ML, DrugHistory, history_of_trend, lagged
from training.tci import INTERVAL_S, Trend

HORIZONS_S = (30, 60, 180, 300)
STEPS = tuple(round(horizon / INTERVAL_S) for horizon in HORIZONS_S)
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MEDIAN = QUANTILES.index(0.5)
HELD = 6  # intervals that the last shown index still is the present one
HELD_CIRCULATION = 12  # a cuff may measure every few minutes; an arterial line that long away has gone
INDEX_LAGS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15, 18, 24, 30, 36, 45, 60)
INDEX_MEANS = (6, 12, 30, 60, 90, 180)  # intervals: a minute to half an hour
CIRCULATION_LAGS = (3, 6, 12, 30, 60)
HIDDEN = 128
POINTS = 6.0  # index points of one unit of the last layer
LEAST_SPREAD = 1e-3  # of a feature that says anything
LEAST_GAP = 1e-3  # index points between neighbouring quantiles


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """One case: `features` [n, f] unscaled, the index `now` [n] (NaN where none is), what was shown later [n, 4] and who may be judged."""

    features: Floats
    now: Floats
    later: Floats
    judged: np.ndarray[tuple[int], np.dtype[np.bool_]]


def held(values: Floats, intervals: int) -> Floats:
    """Return the newest value not older than so many intervals; NaN where there is none."""
    place = np.arange(values.size)
    last = np.maximum.accumulate(np.where(np.isfinite(values), place, -1))
    return np.where((last >= 0) & (place - last <= intervals), values[np.maximum(last, 0)], np.nan)


def moving(values: Floats, intervals: int) -> tuple[Floats, Floats]:
    """Return mean and standard deviation of what is known of the last so many intervals; NaN where nothing is."""
    known = np.isfinite(values)
    sums = [np.concatenate([[0.0], np.cumsum(part)]) for part in (known, np.nan_to_num(values), np.nan_to_num(values) ** 2)]
    end = np.arange(1, values.size + 1)
    count, first, second = (total[end] - total[np.maximum(end - intervals, 0)] for total in sums)
    count = np.where(count > 0, count, np.nan)
    mean = first / count
    return mean, np.sqrt(np.maximum(second / count - mean**2, 0.0))


def _of_index(now: Floats) -> list[Floats]:
    columns = [now / 20.0, *((lagged(now, lag) - now) / 10.0 for lag in INDEX_LAGS)]
    for intervals in INDEX_MEANS:
        mean, spread = moving(now, intervals)
        columns += [(mean - now) / 10.0, spread / 5.0]
    return columns


def _of_circulation(values: Floats) -> list[Floats]:
    now = held(values, HELD_CIRCULATION)
    return [(now - 75.0) / 15.0, np.isfinite(now).astype(np.float64), *((lagged(now, lag) - now) / 10.0 for lag in CIRCULATION_LAGS)]


def _later(index: Floats, intervals: int) -> Floats:
    return np.concatenate([index[intervals:], np.full(min(intervals, index.size), np.nan)])


def past_of(trend: Trend, history: DrugHistory) -> Past:
    """Return what a forecast of each interval may use, and what came of it; unknown features are 0."""
    now = held(trend.index, HELD)
    columns = _of_index(now) + _of_circulation(trend.pressure) + _of_circulation(trend.heart_rate)
    features = np.column_stack([np.nan_to_num(np.column_stack(columns)), history.context])
    later = np.column_stack([_later(trend.index, steps) for steps in STEPS])
    return Past(features, now, later, np.isfinite(now) & (history.effect_site > NEGLIGIBLE_UG_ML))


class QuantileForecast(nn.Module):
    """Quantiles of the index at each horizon; they never cross."""

    centre: Tensor
    unit: Tensor

    def __init__(self, centre: Tensor, unit: Tensor, dropout: float = 0.1) -> None:
        """Make a network; `centre` and `unit` [f] normalise the features."""
        super().__init__()
        self.points, self.median, self.least_gap = POINTS, MEDIAN, LEAST_GAP  # TorchScript sees no module constants, only attributes
        self.horizons, self.quantiles = len(STEPS), len(QUANTILES)
        self.register_buffer("centre", centre)
        self.register_buffer("unit", unit)
        self.enter = nn.Linear(centre.numel(), HIDDEN)
        self.mix = nn.Linear(HIDDEN, HIDDEN)
        self.leave = nn.Linear(HIDDEN, self.horizons * self.quantiles)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor, now: Tensor) -> Tensor:
        """Return [B, 4, 5] index points from features [B, f] and the present index [B]."""
        scaled = ((features - self.centre) / self.unit).clamp(-6.0, 6.0)
        hidden = nn.functional.silu(self.enter(scaled))
        hidden = hidden + nn.functional.silu(self.mix(self.dropout(hidden)))
        raw = self.points * self.leave(self.dropout(hidden)).reshape(-1, self.horizons, self.quantiles)
        middle = now.reshape(-1, 1, 1) + raw[:, :, self.median : self.median + 1]
        gaps = nn.functional.softplus(raw) + self.least_gap
        below = gaps[:, :, : self.median].flip(2).cumsum(2).flip(2)
        above = gaps[:, :, self.median + 1 :].cumsum(2)
        return torch.cat([middle - below, middle, middle + above], dim=2)


@dataclass(frozen=True, slots=True)
class ForecastSettings:
    """Everything that shapes a fit; reported with every figure."""

    seed: int = 20260401
    epochs: float = 5.0
    batch: int = 4096
    rate: float = 2e-3
    decay: float = 1e-2
    dropout: float = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class ForecastRows:
    """Intervals of many cases to fit on, one row each; `later` is NaN where nothing was shown."""

    features: Tensor
    now: Tensor
    later: Tensor


def _float32(values: Floats) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def forecast_rows_of(trends: Iterable[Trend]) -> ForecastRows:
    """Return the rows to fit on: those that would be judged and have at least one later index."""
    features, now, later = [], [], []
    for trend in trends:
        past = past_of(trend, history_of_trend(trend))
        kept = past.judged & np.isfinite(past.later).any(axis=1)
        features.append(_float32(past.features[kept]))
        now.append(_float32(past.now[kept]))
        later.append(_float32(past.later[kept]))
    return ForecastRows(torch.cat(features), torch.cat(now), torch.cat(later))


def pinball(quantiles: Tensor, said: Tensor, later: Tensor) -> Tensor:
    """Return the mean pinball loss of [B, 4, 5] against [B, 4] where something was shown."""
    known = later.isfinite().unsqueeze(2)
    error = torch.where(known, later.unsqueeze(2) - said, torch.zeros_like(said))
    return torch.maximum(quantiles * error, (quantiles - 1.0) * error).sum() / (known.sum() * said.size(2)).clamp(min=1)


def fit_forecast(rows: ForecastRows, settings: ForecastSettings) -> QuantileForecast:
    """Return the network fitted on the rows, in evaluation mode; some two minutes of one core for a thousand cases."""
    torch.manual_seed(settings.seed)
    spread = rows.features.std(dim=0)
    # What never varied in fitting, a monitor that was absent throughout, must say nothing later.
    unit = torch.where(spread > LEAST_SPREAD, spread, torch.full_like(spread, torch.inf))
    network = QuantileForecast(rows.features.mean(dim=0), unit, dropout=settings.dropout)
    random = torch.Generator().manual_seed(settings.seed + 1)
    quantiles = torch.tensor(QUANTILES)
    steps = max(1, int(settings.epochs * len(rows.now) / settings.batch))

    def next_loss() -> Tensor:
        drawn = torch.randint(len(rows.now), (settings.batch,), generator=random)
        return pinball(quantiles, network(rows.features[drawn], rows.now[drawn]), rows.later[drawn])

    return descended(network, next_loss, Descent(steps, settings.rate, settings.decay, longest_gradient=None))


def foretold(network: QuantileForecast, past: Past) -> Floats:
    """Return the quantiles [n, 4, 5] of every interval, 0 to 100; NaN where there is no present index."""
    with torch.inference_mode():
        said = network(_float32(past.features), _float32(past.now))
    return np.asarray(np.clip(said.numpy(), 0.0, 100.0), np.float64)
