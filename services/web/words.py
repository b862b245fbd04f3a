"""The words of the wall that the closed lists of `anesthesia.prediction` leave to the page."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

PREDICTED: Final = "predicted depth index"
SUPPRESSED: Final = "suppressed"

# How the devices themselves call their indices (Signal names of the vocabulary).
DEVICE_IN_WORDS: Final[Mapping[str, str]] = MappingProxyType({"bis": "BIS", "entropy_state": "SE", "entropy_response": "RE", "psi": "PSI"})


def device_in_words(signal: str) -> str:
    """Return the device's name for its index."""
    return DEVICE_IN_WORDS.get(signal, signal)
