"""The model itself: opened from verified bytes, tried on its golden vectors, run on one thread."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
from numpy.typing import NDArray

from anesthesia.errors import SoporError
from backbone.bundle import GOLDEN, MODEL, Bundle
from model_server.tensors import NotFinite, Window

Float32 = NDArray[np.float32]
TOLERANCE = 1e-3  # index points, and the same figure for probabilities and distances
WARM_BATCHES = (1, 2, 8, 32)  # torch specialises on its first calls


class GoldenMismatch(SoporError):
    """The model does not answer its golden vectors on this machine as it did where it was exported."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What the model says of one window: index with its interval (0 to 100), state probabilities, distance in units of its limit."""

    value: float
    low: float
    high: float
    state_probability: tuple[float, ...]
    out_of_distribution: float


def _opened(content: bytes) -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        # torch 2.13 deprecates every torch.jit call; the pinned version still does all of it.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        module = torch.jit.load(BytesIO(content), map_location="cpu")  # type: ignore[no-untyped-call]  # torch gives it no annotation
        frozen = torch.jit.freeze(module.eval())
    assert isinstance(frozen, torch.jit.ScriptModule)
    return frozen


class Runner:
    """One loaded model. Not for two threads at once: the batcher gives it its own."""

    def __init__(self, bundle: Bundle) -> None:
        """Open the model and run its golden vectors; raise GoldenMismatch when they come out otherwise."""
        torch.set_num_threads(1)  # a second thread gains nothing at these sizes and ruins the tail on a shared machine
        self._module = _opened(bundle.files[MODEL])
        self._check(bundle)

    def _answers(self, eeg: Float32, mask: Float32) -> list[Float32]:
        with torch.inference_mode():
            return [answer.numpy() for answer in self._module(torch.from_numpy(eeg), torch.from_numpy(mask))]

    def _check(self, bundle: Bundle) -> None:
        with np.load(BytesIO(bundle.files[GOLDEN]), allow_pickle=False) as golden:
            eeg = golden["eeg_counts"].astype(np.float32) * np.float32(golden["uv_per_count"])
            mask = golden["mask"].astype(np.float32)
            expected = [golden[output.name] for output in bundle.manifest.outputs]
        for size in WARM_BATCHES:
            rows = np.arange(size) % len(eeg)
            for output, answer, known in zip(bundle.manifest.outputs, self._answers(eeg[rows], mask[rows]), expected, strict=True):
                gap = float(np.abs(answer - known[rows]).max())
                if not gap <= TOLERANCE:
                    raise GoldenMismatch(
                        f"{bundle.reference}: {output.name} is {gap:.2g} off its golden vectors; do not serve it on this machine, "
                        "compare its processor and torch version with those of the manifest"
                    )

    def score(self, windows: Sequence[Window]) -> list[Scored | NotFinite]:
        """Return one answer a window, in order; a row that came out as NaN or infinity is NotFinite, the others stand."""
        value, low, high, state, distance = self._answers(np.stack([w.eeg for w in windows]), np.stack([w.mask for w in windows]))
        answers: list[Scored | NotFinite] = []
        for row in range(len(windows)):
            scored = Scored(float(value[row]), float(low[row]), float(high[row]), tuple(map(float, state[row])), float(distance[row]))
            finite = np.isfinite((scored.value, scored.low, scored.high, scored.out_of_distribution, *scored.state_probability)).all()
            answers.append(scored if finite else NotFinite("the model's answer is not finite: the EEG is beyond what it can represent"))
        return answers
