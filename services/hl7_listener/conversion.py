"""What one unit is in another: factor and offset that a mapping's row has to name. Pure.

A row converts only where it says so, and only by the number that stands here: a wrong factor looks like a sick patient. A rate by weight
(ug/kg/min) is in no table: what it is in mL/h depends on weight and concentration, and no message says surely which were meant.
"""

import re
from dataclasses import dataclass
from math import isclose
from typing import Final

from anesthesia.signal import Group, Signal

_ANNOTATION: Final = re.compile(r"\{[^}]*\}")
_EXACT: Final[dict[tuple[str, str], tuple[float, float]]] = {
    ("kPa", "mm[Hg]"): (7.500616827, 0.0),
    ("cm[H2O]", "mm[Hg]"): (0.73555924, 0.0),
    ("[degF]", "Cel"): (5 / 9, -160 / 9),
    ("K", "Cel"): (1.0, -273.15),
    ("mV", "uV"): (1000.0, 0.0),
    ("Ohm", "kOhm"): (0.001, 0.0),
    ("/s", "Hz"): (1.0, 0.0),
    ("/s", "/min"): (60.0, 0.0),
    ("Hz", "/min"): (60.0, 0.0),
    ("1", "%"): (100.0, 0.0),
    ("%", "1"): (0.01, 0.0),
    ("mg/mL", "ug/mL"): (1000.0, 0.0),
    ("ug/mL", "mg/mL"): (0.001, 0.0),
    ("ug/mL", "ng/mL"): (1000.0, 0.0),
    ("ng/mL", "ug/mL"): (0.001, 0.0),
    ("L/h", "mL/h"): (1000.0, 0.0),
    ("mL/min", "mL/h"): (60.0, 0.0),
    ("L", "mL"): (1000.0, 0.0),
}
# One per cent of a gas is a hundredth of the ambient pressure, dry or less 47 mm[Hg] of water vapour: the site says which, from 4,000 m of
# height (460 mm[Hg]) to high pressure at sea level (800).
_GASES: Final = frozenset({Group.RESPIRATION, Group.AGENT})
_GAS_SCALE: Final = {("%", "mm[Hg]"): (4.1, 8.0), ("mm[Hg]", "%"): (1 / 8.0, 1 / 4.1)}
_SCALE_TOLERANCE: Final = 1e-3
_OFFSET_TOLERANCE: Final = 0.01


@dataclass(frozen=True, slots=True)
class Conversion:
    """value in the Signal's unit = scale x value as sent + offset; the scale may lie between two bounds."""

    scale: tuple[float, float]
    offset: float = 0.0

    def is_done_by(self, scale: float, offset: float) -> bool:
        """Tell whether a row that names this factor and this offset converts rightly."""
        low, high = self.scale
        within = low * (1 - _SCALE_TOLERANCE) <= scale <= high * (1 + _SCALE_TOLERANCE)
        return within and isclose(offset, self.offset, abs_tol=_OFFSET_TOLERANCE)

    def __str__(self) -> str:
        """Return what a row has to say."""
        low, high = self.scale
        scale = f"scale: {low:.10g}" if low == high else f"a scale from {low:.3g} to {high:.3g}"
        return scale + (f", offset: {self.offset:.10g}" if self.offset else "")


def plain(ucum: str) -> str:
    """Return a unit without annotation: {score} is 1, {beats}/min is /min."""
    return _ANNOTATION.sub("", ucum) or "1"


def conversion_of(ucum: str, signal: Signal) -> Conversion | None:
    """Return how a value in a unit becomes one in the Signal's unit; None when it cannot."""
    pair = (plain(ucum), plain(signal.unit))
    if pair[0] == pair[1]:
        return Conversion((1.0, 1.0))
    if pair in _EXACT:
        scale, offset = _EXACT[pair]
        return Conversion((scale, scale), offset)
    return Conversion(_GAS_SCALE[pair]) if pair in _GAS_SCALE and signal.group in _GASES else None
