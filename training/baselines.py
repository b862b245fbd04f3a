"""What a model must beat, said at the same label times. None of them has seen the case it speaks of; each says what it was given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from anesthesia.agreement import Floats
from anesthesia.openibis import openibis
from training.datasets import RATE_HZ, Recording
from training.figures import Figures, Said, agreement_of, share_of
from training.regressor import EPOCH_S, epochs_of, regressor_of

PERSISTENCE_S = 60.0


@dataclass(frozen=True, eq=False)
class Baseline:
    """One control: what it said of every case (None: it does not apply here), what it is, and figures of its own."""

    given: str
    said: tuple[Said, ...] | None
    own: Figures


def empty_said(recording: Recording) -> Said:
    """Return a case of which nothing was said."""
    count = recording.ends.size
    return Said(recording.case, recording.ends / RATE_HZ, recording.index.astype(np.float64), np.full(count, np.nan))


def _each(recordings: Sequence[Recording], value: Callable[[Recording], Floats]) -> tuple[Said, ...]:
    return tuple(replace(empty_said(recording), value=value(recording)) for recording in recordings)


def others_of(recording: Recording, known: Sequence[Recording]) -> list[Recording]:
    """Return the known cases but this one, told by its bytes: a copy under another name is the same case."""
    return [other for other in known if other.sha256 != recording.sha256]


def constant(recordings: Sequence[Recording], known: Sequence[Recording]) -> Baseline:
    """Return the median index of the other known cases, said all the time."""

    def value(recording: Recording) -> Floats:
        others = [other.index for other in others_of(recording, known)]
        return np.full(recording.ends.size, float(np.median(np.concatenate(others))) if others else np.nan)

    return Baseline("median index of the other cases", _each(recordings, value), {})


def persistence(recordings: Sequence[Recording]) -> Baseline:
    """Return the device's own index of 60 s ago."""

    def value(recording: Recording) -> Floats:
        at_s = recording.ends / RATE_HZ
        newest = np.searchsorted(at_s, at_s - PERSISTENCE_S, side="right") - 1
        return np.asarray(np.where(newest >= 0, recording.index[newest], np.nan), np.float64)

    given = f"the device's own index {PERSISTENCE_S:.0f} s earlier: no model of the EEG is given that"
    return Baseline(given, _each(recordings, value), {})


def regressor(recordings: Sequence[Recording], known: Sequence[Recording], seed: int) -> Baseline:
    """Return the 14-feature regressor, fitted for each case on the other known ones; `own` holds its figures on 30 s epochs."""
    epochs = {recording.sha256: epochs_of(recording) for recording in (*known, *recordings)}
    said, of_epochs = [], []
    for recording in recordings:
        others = [epochs[other.sha256] for other in others_of(recording, known)]
        if not sum(one.index.size for one in others):
            said.append(empty_said(recording))
            continue
        fitted, mine = regressor_of(others, seed), epochs[recording.sha256]
        said.append(replace(empty_said(recording), value=fitted.at_labels(recording)))
        at_s = EPOCH_S * np.arange(1, mine.index.size + 1, dtype=np.float64)
        of_epochs.append(Said(recording.case, at_s, mine.index, fitted.index(mine.features)))
    own: Figures = {"epochs_of_30_s": {"epochs": sum(one.at_s.size for one in of_epochs), **agreement_of(of_epochs)}}
    return Baseline("the newest 30 s of EEG as 14 numbers; ridge on random Fourier features, other cases", tuple(said), own)


def open_ibis(recordings: Sequence[Recording]) -> Baseline:
    """Return OpenIBIS, which is fitted on nothing here."""

    def value(recording: Recording) -> Floats:
        rows = openibis(recording.eeg.astype(np.float64))
        newest = np.searchsorted(rows.ends, recording.ends, side="right") - 1
        return np.asarray(np.where(newest >= 0, rows.score[newest], np.nan) if rows.ends.size else newest * np.nan, np.float64)

    return Baseline("EEG; the constants of Connor 2022", _each(recordings, value), {})


def baselines_of(recordings: Sequence[Recording], known: Sequence[Recording], seed: int) -> dict[str, Baseline]:
    """Return every baseline over these recordings; `known` are the cases that may be fitted on, each for every case but itself."""
    return {
        "constant": constant(recordings, known),
        "persistence": persistence(recordings),
        "pkpd_surface": Baseline("drug rates and demographics: not recorded here", None, {}),
        "regressor": regressor(recordings, known, seed),
        "openibis": open_ibis(recordings),
    }


def plainly(baseline: Baseline) -> Figures | None:
    """Return the figures of a baseline over the label times at which it speaks; None where it does not apply."""
    if baseline.said is None:
        return None
    return {"given": baseline.given, **agreement_of(baseline.said), "scored_share": share_of(baseline.said), **baseline.own}
