"""The few errors that cross modules.

SoporError
├── BadValue           a value the vocabulary cannot hold (the caller's fault)
├── BadWire            bytes that are not the message they claim to be (the writer's fault)
└── UnknownSignal      a name outside the Signal table
"""


class SoporError(Exception):
    """Root of every error that Sopor raises on purpose. Texts never hold patient data."""


class BadValue(SoporError):
    """A value that cannot be what it says: naive time, non-finite number, interval that ends before it starts."""


class BadWire(SoporError):
    """Bytes from a stream or a call that do not decode; says which message and which field."""


class UnknownSignal(SoporError):
    """A signal name that is not in `anesthesia.signal.SIGNALS`."""
