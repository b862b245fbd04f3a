"""From a ScoreRequest to arrays. Pure: what does not fit raises here and never reaches the model."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anesthesia.errors import SoporError
from backbone.bundle import Manifest
from protos.depth.v1 import depth_pb2 as pb

Float32 = NDArray[np.float32]
FLOAT32_BYTES = 4


class BadWindow(SoporError):
    """A window of another shape, rate or length than the model reads, or a mask that is not 0 and 1."""


class NotFinite(SoporError):
    """A window, or what the model made of it, that holds NaN or infinity."""


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """One window as the model reads it: microvolt and mask, float32 of shape (channels, samples)."""

    eeg: Float32
    mask: Float32


def window_of(request: pb.ScoreRequest, manifest: Manifest) -> Window:
    """Return the request's window; raise BadWindow or NotFinite saying which field is wrong."""
    channels, samples, rate_hz = len(manifest.inputs), manifest.inputs[0].samples, manifest.inputs[0].rate_hz
    if (request.channels, request.samples) != (channels, samples):
        raise BadWindow(f"shape: {request.channels} x {request.samples} where the model reads {channels} x {samples}")
    if request.rate_hz != rate_hz:
        raise BadWindow(f"rate_hz: {request.rate_hz:g} where the model reads {rate_hz:g}")
    if len(request.eeg_microvolt) != channels * samples * FLOAT32_BYTES:
        raise BadWindow(f"eeg_microvolt: {len(request.eeg_microvolt)} bytes instead of {channels * samples * FLOAT32_BYTES}")
    if len(request.mask) != channels * samples:
        raise BadWindow(f"mask: {len(request.mask)} bytes instead of {channels * samples}")
    mask = np.frombuffer(request.mask, np.uint8).reshape(channels, samples)
    if mask.max(initial=0) > 1:
        raise BadWindow("mask: holds values other than 0 and 1")
    eeg = np.frombuffer(request.eeg_microvolt, "<f4").reshape(channels, samples)
    if not np.isfinite(eeg).all():
        raise NotFinite("eeg_microvolt: holds NaN or infinity; mask what is missing and send 0 there")
    return Window(eeg.astype(np.float32, copy=False), mask.astype(np.float32))
