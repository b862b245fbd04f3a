"""A bundle's recipe fitted anew for each case on the others: what its weights would have said of a patient they never saw.

Networks, normalisation and feature space of a case know nothing of it. The widths and the limit of refusal come from the errors of the
other cases, as the bundle's own do; those errors are of networks that did know this case (cross-conformal), which the figures of the
interval may profit from a little and those of the index do not.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from training.augment import Views, views_of
from training.datasets import DataMissing, Recording
from training.evaluate import (
    SHORT_S,
    Judged,
    Space,
    distance_quantile,
    interval_quantile,
    joined,
    judged_case,
    space_of,
)
from training.fit import FitSettings, fit_without, restored
from training.frontend import WINDOW_S
from training.networks import DepthNetwork
from training.scorer import Calibration, Scorer

LEAST_CASES = 3  # one to judge, and two to fit on and to take the widths from

Members = tuple[DepthNetwork, ...]
Tell = Callable[[str], None]


def _kept(path: Path, about: dict[str, object]) -> Members | None:
    """Return networks that an earlier run kept, if they are of the same cases and settings."""
    if not path.is_file():
        return None
    content = torch.load(path, weights_only=True)
    return tuple(restored(weights) for weights in content["weights"]) if content["about"] == about else None


def members_of(recordings: Sequence[Recording], settings: FitSettings, work: Path, tell: Tell) -> list[Members]:
    """Return for each case the networks fitted on the others; each is kept in `work` at once, so that a broken run goes on."""
    if len(recordings) < LEAST_CASES:
        raise DataMissing(f"leaving one case out needs at least {LEAST_CASES} cases, not {len(recordings)}")
    names, hashes = [recording.case for recording in recordings], {recording.case: recording.sha256 for recording in recordings}
    work.mkdir(parents=True, exist_ok=True)
    views: Views | None = None
    all_members = []
    for position, name in enumerate(names):
        path = work / f"{name}.pt"
        about: dict[str, object] = {"settings": asdict(settings), "hashes": hashes, "held": name}
        members = _kept(path, about)
        if members is None:
            views = views or views_of(tuple(recordings), settings.views, settings.seed)
            tell(f"fitting without {name}, {position + 1} of {len(names)}")
            members = fit_without(views, names, (name,), settings, position)
            torch.save({"about": about, "weights": [network.state_dict() for network in members]}, path)
        all_members.append(members)
    return all_members


def _judged(recordings: Sequence[Recording], members: Sequence[Members], history_s: int) -> list[Judged]:
    return [judged_case(recording, position, members[position], history_s) for position, recording in enumerate(recordings)]


def scorers_of(recordings: Sequence[Recording], members: Sequence[Members]) -> list[Scorer]:
    """Return for each case the scorer that never saw it: its networks, the others' feature space, widths and limits."""
    full, short = (_judged(recordings, members, history_s) for history_s in (WINDOW_S, SHORT_S))
    spaces: list[Space] = []
    for position in range(len(recordings)):
        spaces.append(space_of([case.summary for other, case in enumerate(full) if other != position]))
        for cases in (full, short):
            cases[position].distance[:] = spaces[position].distance(cases[position].summary)
    both = joined(full), joined(short)
    scorers = []
    for position, space in enumerate(spaces):
        interval = interval_quantile(both[0], position), interval_quantile(both[1], position)
        distance = distance_quantile(both[0], position), distance_quantile(both[1], position)
        scorers.append(Scorer(members[position], Calibration(space.centre, space.whitening, interval, distance)))
    return scorers
