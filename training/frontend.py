"""From a window of EEG to features per second: the fixed first part of every network, scripted together with it.

The features are log powers in narrow bands of overlapping 2 s Hann frames, each frame's own mean removed (so they do not depend on the
amplifier's gain), that mean itself, and the share of half seconds that hardly move. A frame that lost samples to the mask is left out.
"""

import torch
from torch import Tensor, nn

RATE_HZ = 128
WINDOW_S = 60
SAMPLES = RATE_HZ * WINDOW_S
FRAME = 2 * RATE_HZ  # 2 s: four cycles of 2 Hz and half a hertz of resolution
HOP = RATE_HZ
FRAMES = (SAMPLES - FRAME) // HOP + 1
LEAST_OF_FRAME = 0.9  # share of real samples below which a frame is left out
# First bins (0.5 Hz each) of the bands and the end of the last: 1 Hz wide to 16.5 Hz, 2 Hz to 30.5 Hz, then up to 46.5 Hz, below mains.
BAND_STARTS = (*range(1, 33, 2), *range(33, 61, 4), 61, 69, 77, 85)
BAND_END = 93
BANDS = len(BAND_STARTS)
# Added to each power (uV^2/Hz, -17 dB): hides floors of amplifiers better than those recorded (about -13 dB at 40 Hz).
SOFT_FLOOR = 0.02
QUIET_UV = 5.0  # suppression: less than 5 uV either side for 0.5 s (Connor, Anesth Analg 2022;135:855; Rampil 1998)
FEATURES = BANDS + 2


def _averages() -> Tensor:
    """Return [bins, bands]: each column averages the spectrum over one band."""
    edges = (*BAND_STARTS, BAND_END)
    columns = torch.zeros(FRAME // 2 + 1, BANDS)
    for band in range(BANDS):
        columns[edges[band] : edges[band + 1], band] = 1.0 / (edges[band + 1] - edges[band])
    return columns


class FrontEnd(nn.Module):
    """Features of a single channel; no parameter is learned here."""

    hann: Tensor
    averages: Tensor

    def __init__(self) -> None:
        """Make the constants."""
        super().__init__()
        # TorchScript sees no module constants, only attributes.
        self.frame, self.hop, self.rate_hz = FRAME, HOP, float(RATE_HZ)
        self.least, self.floor, self.swing_uv = LEAST_OF_FRAME * FRAME, SOFT_FLOOR, 2 * QUIET_UV
        self.register_buffer("hann", torch.hann_window(FRAME, periodic=True))
        self.register_buffer("averages", _averages())

    def forward(self, eeg: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return features [N, frames, 29] (dB, dB, share) and which frames count [N, frames], from microvolt [N, n] and mask [N, n]."""
        frames = eeg.unfold(1, self.frame, self.hop)
        real = mask.unfold(1, self.frame, self.hop)
        count = real.sum(dim=2)
        mean = (frames * real).sum(dim=2) / count.clamp(min=1.0)
        centred = (frames - mean.unsqueeze(2)) * real
        window = self.hann * real
        energy = (window * window).sum(dim=2).clamp(min=1.0)
        spectrum = torch.fft.rfft(centred * window, dim=2)
        power = (spectrum.real * spectrum.real + spectrum.imag * spectrum.imag) * (2.0 / self.rate_hz) / energy.unsqueeze(2)
        decibel = 10.0 * torch.log10(torch.matmul(power, self.averages) + self.floor)
        level = decibel.mean(dim=2, keepdim=True)
        halves = centred.reshape(centred.size(0), centred.size(1), 4, -1)
        spread = halves.amax(dim=3) - halves.amin(dim=3)
        quiet = (spread < self.swing_uv).to(eeg.dtype).mean(dim=2, keepdim=True)
        features = torch.cat([decibel - level, level, quiet], dim=2)
        counts = (count >= self.least).to(eeg.dtype)
        return features * counts.unsqueeze(2), counts
