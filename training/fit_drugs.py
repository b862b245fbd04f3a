"""Fits the drug-response network on trends, recorded or simulated: settings fixed beforehand, seeds fixed, cases never split."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from anesthesia.pharmacology import Floats
from training.descent import Descent, descended
from training.drug_history import NEGLIGIBLE_UG_ML, PATIENT, DrugHistory, history_of_trend
from training.drug_network import DrugResponse, Ensemble
from training.loss import index_loss
from training.tci import Trend, history_is_complete


@dataclass(frozen=True, slots=True)
class DrugFitSettings:
    """Everything that shapes a fit; reported with every figure."""

    seed: int = 20260401
    members: int = 3
    epochs: float = 4.0
    batch: int = 4096
    rate: float = 3e-3
    decay: float = 1e-2
    dropout: float = 0.2
    concordance: float = 0.5  # weight beside smooth L1: without it the network lives at the median
    history: bool = True  # False: patient and time only, so that the index falls with every dose ever given


@dataclass(frozen=True, slots=True, eq=False)
class DrugRows:
    """Labelled intervals of many cases, one row each; `case` counts the cases."""

    propofol: Tensor
    remifentanil: Tensor
    context: Tensor
    index: Tensor
    case: Tensor


def at_work(trend: Trend, history: DrugHistory) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return the intervals that are judged: an index is shown and propofol has reached the effect site."""
    return np.isfinite(trend.index) & (history.effect_site > NEGLIGIBLE_UG_ML)


def complete(trend: Trend) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return the intervals before which neither pump was silent for long."""
    return history_is_complete(trend.propofol_ml_h) & history_is_complete(trend.remifentanil_ml_h)


def _float32(values: Floats) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def rows_of(trends: Iterable[Trend]) -> DrugRows:
    """Return the rows to fit on: intervals at work with a complete history."""
    columns: tuple[list[Tensor], ...] = ([], [], [], [], [])
    for number, trend in enumerate(trends):
        history = history_of_trend(trend)
        kept = at_work(trend, history) & complete(trend)
        parts = (history.propofol[kept], history.remifentanil[kept], history.context[kept], trend.index[kept], np.full(kept.sum(), number))
        for column, part in zip(columns, parts, strict=True):
            column.append(_float32(part))
    return DrugRows(*(torch.cat(column) for column in columns))


def _loss(network: DrugResponse, rows: DrugRows, drawn: Tensor, settings: DrugFitSettings) -> Tensor:
    """Return the loss of the drawn rows."""
    predicted, spread = network(rows.propofol[drawn], rows.remifentanil[drawn], rows.context[drawn])
    return index_loss(predicted, spread, rows.index[drawn], agreement=settings.concordance)


def fit_member(rows: DrugRows, settings: DrugFitSettings, seed: int) -> DrugResponse:
    """Return one network fitted on the rows, in evaluation mode."""
    torch.manual_seed(seed)
    columns = rows.context.size(1) if settings.history else PATIENT
    context = rows.context[:, :columns]
    network = DrugResponse(context.mean(dim=0), context.std(dim=0) + 1e-3, dropout=settings.dropout)
    random = torch.Generator().manual_seed(seed + 1)
    steps = max(1, int(settings.epochs * len(rows.index) / settings.batch))

    def next_loss() -> Tensor:
        drawn = torch.randint(len(rows.index), (settings.batch,), generator=random)
        return _loss(network, rows, drawn, settings)

    return descended(network, next_loss, Descent(steps, settings.rate, settings.decay))


def fit_drugs(rows: DrugRows, settings: DrugFitSettings) -> Ensemble:
    """Return the ensemble fitted on the rows; a minute or two of one core for a thousand cases."""
    return Ensemble(tuple(fit_member(rows, settings, settings.seed + 100 * member) for member in range(settings.members))).eval()


def said_of(network: Ensemble, history: DrugHistory) -> tuple[Floats, Floats]:
    """Return index and spread of every interval of a case."""
    with torch.inference_mode():
        index, spread = network(_float32(history.propofol), _float32(history.remifentanil), _float32(history.context))
    return index.numpy().astype(np.float64), spread.numpy().astype(np.float64)
