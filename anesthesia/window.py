"""Windows: the readings of one expected second on one time grid, with masks. Training and serving both use this file.

A Window ends at the end of its second and never looks past it. EEG lies on a grid of 128 Hz; what is missing is masked (mask False,
value 0), never filled in. Only readings of one case's Occupancy enter.
"""

import hashlib
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from anesthesia.errors import BadValue
from anesthesia.occupancy import Covariates
from anesthesia.reading import Numeric, Waveform
from anesthesia.signal import EEG_CHANNELS

EEG_RATE_HZ = 128
WINDOW_S = 60  # what the model sees
SPAN_S = 63  # what the window holds: the suppression ratio is counted over 63 s
SPAN_SAMPLES = EEG_RATE_HZ * SPAN_S

Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Window:
    """What one score rests on.

    `eeg_microvolt` float32 and `mask` bool have shape (2, 8064): channel, sample; sample k stands at `second + 1 - 63 + k / 128` s.
    `numerics` holds the newest usable Numeric of each Signal not after the end; `adaptation_state` the explicit state of adaptation.
    """

    case_id: UUID
    second: int
    eeg_microvolt: Float32
    mask: Bool
    numerics: Mapping[str, Numeric]
    covariates: Covariates
    adaptation_state: bytes = b""

    def __post_init__(self) -> None:
        """Refuse shapes that the model could misread."""
        shape = (len(EEG_CHANNELS), SPAN_SAMPLES)
        if self.eeg_microvolt.shape != shape or self.mask.shape != shape:
            raise BadValue(f"window: EEG and mask must have shape {shape}")

    @property
    def end(self) -> float:
        """The Unix time at which the window ends (exclusive)."""
        return float(self.second + 1)

    @property
    def model_eeg(self) -> Float32:
        """The newest 60 s of EEG, shape (2, 7680): what the model sees."""
        return self.eeg_microvolt[:, -WINDOW_S * EEG_RATE_HZ :]

    @property
    def model_mask(self) -> Bool:
        """The mask of `model_eeg`."""
        return self.mask[:, -WINDOW_S * EEG_RATE_HZ :]

    def covered_s(self, last_s: int) -> float:
        """Return the seconds of real EEG in the newest `last_s` seconds, on the better channel."""
        newest = self.mask[:, -last_s * EEG_RATE_HZ :]
        return float(newest.sum(axis=1).max()) / EEG_RATE_HZ

    @cached_property
    def input_hash(self) -> bytes:
        """SHA-256 over every input in a fixed order: the proof of what a record rests on."""
        digest = hashlib.sha256(b"sopor-window-v1")
        digest.update(self.case_id.bytes + struct.pack("<q", self.second))
        digest.update(np.ascontiguousarray(self.eeg_microvolt, "<f4").tobytes())
        digest.update(np.packbits(self.mask).tobytes())
        for name in sorted(self.numerics):
            numeric = self.numerics[name]
            digest.update(f"{name}|{numeric.value!r}|{numeric.observed_at.isoformat()}|{numeric.status}\n".encode())
        person = self.covariates
        digest.update(f"{person.age_years}|{person.sex}|{person.height_cm}|{person.weight_kg}\n".encode())
        digest.update(self.adaptation_state)
        return digest.digest()


def _runs(packets: Iterable[Waveform]) -> list[list[Waveform]]:
    """Group packets that follow each other without a gap (to half a sample) at one rate."""
    runs: list[list[Waveform]] = []
    for packet in sorted(packets, key=lambda p: p.start):
        last = runs[-1][-1] if runs else None
        if last is not None and last.rate_hz == packet.rate_hz:
            gap_s = (packet.start - last.end).total_seconds()
            if abs(gap_s) <= 0.5 / packet.rate_hz:
                runs[-1].append(packet)
                continue
        runs.append([packet])
    return runs


def _at_grid_rate(run: list[Waveform]) -> Float32:
    """Return a run's samples in its unit at 128 Hz (polyphase filter where the device has another rate)."""
    values = np.concatenate([packet.samples.astype(np.float32) * np.float32(packet.scale) for packet in run])
    rate = run[0].rate_hz
    if rate == EEG_RATE_HZ:
        return values
    from scipy.signal import resample_poly  # 70 MB that only other rates need

    resampled: Float32 = resample_poly(values, EEG_RATE_HZ, round(rate)).astype(np.float32)
    return resampled


def eeg_grid(packets: Mapping[str, Iterable[Waveform]], second: int, *, not_before: float) -> tuple[Float32, Bool]:
    """Return EEG (2, 8064) in microvolt and its mask for the window that ends with `second`.

    `packets` maps `eeg_1`, `eeg_2` to waveforms; samples before `not_before` (Unix time: where the Occupancy starts) or after the end
    are left out. Where packets overlap the later-starting one wins.
    """
    eeg = np.zeros((len(EEG_CHANNELS), SPAN_SAMPLES), np.float32)
    mask = np.zeros(eeg.shape, np.bool_)
    begin = second + 1 - SPAN_S
    first = max(0, int(np.ceil((not_before - begin) * EEG_RATE_HZ)))
    for channel, name in enumerate(EEG_CHANNELS):
        for run in _runs(packets.get(name, ())):
            values = _at_grid_rate(run)
            offset = round((run[0].start.timestamp() - begin) * EEG_RATE_HZ)
            low, high = max(first, offset), min(SPAN_SAMPLES, offset + len(values))
            if low < high:
                eeg[channel, low:high] = values[low - offset : high - offset]
                mask[channel, low:high] = True
    return eeg, mask
