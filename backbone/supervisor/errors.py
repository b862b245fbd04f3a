"""What can be wrong with the machine, not with Sopor's data.

SupervisorError
├── BadState       the state folder cannot be used (permissions, path length, another version's data)
├── AlreadyUp      another supervisor holds this state folder
├── NoServer       a server's binary is missing or cannot be prepared
└── NotReady       a process did not become ready in its time
"""

from anesthesia.errors import SoporError


class SupervisorError(SoporError):
    """Root of the supervisor's errors."""


class BadState(SupervisorError):
    """The state folder cannot be used; the text says which folder and what to set."""


class AlreadyUp(SupervisorError):
    """Another supervisor holds the lock of this state folder; the text names its process id."""


class NoServer(SupervisorError):
    """PostgreSQL or Valkey cannot be started from the wheels; the text says what to install or set."""


class NotReady(SupervisorError):
    """A process ended or stayed silent instead of becoming ready; the text holds its last lines."""
