"""Whose fault it is when a minute does not reach the EHR."""

from anesthesia.errors import SoporError


class BadTargets(SoporError):
    """The targets file is missing, is no TOML, or breaks a rule; the text names file, line and key."""


class BrokerDown(SoporError):
    """The broker does not take messages; the rows wait in the outbox."""


class Undelivered(SoporError):
    """A try that did not end with the resource in the EHR. `code` is of a closed list and fit for logs; `words` are the server's."""

    def __init__(self, code: str, *, words: str = "") -> None:
        """Take the code, and what the server said (may name patients: it is only ever stored sealed)."""
        super().__init__(code)
        self.code, self.words = code, words


class EhrDown(Undelivered):
    """The EHR does not answer, is too busy, or has lost its way: the same request may succeed later."""

    def __init__(self, code: str, *, words: str = "", after_s: float | None = None, outage: bool = True) -> None:
        """`after_s` is the server's own Retry-After; without `outage` the try counts against the row, not the server."""
        super().__init__(code, words=words)
        self.after_s, self.outage = after_s, outage


class LedgerBehind(Undelivered):
    """The audit log has no signed checkpoint yet that the resource could name; the ledger signs one each minute."""


class EhrRefused(Undelivered):
    """The EHR will never take this resource as it is."""


class NeedsPeople(Undelivered):
    """Something that people must settle first: no or several patients, no permission."""
