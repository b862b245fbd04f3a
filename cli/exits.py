"""Exit codes, the same for every command."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a script can rely on."""

    OK = 0
    CHECK_FAILED = 1
    USAGE = 2
    CONFIG = 3
    UNREACHABLE = 4
    AUTH = 5
    NOT_FOUND = 6
    INTEGRITY = 7
    PARTIAL = 8


class CommandFault(Exception):
    """Ends a command with a text for the person and a code for the script."""

    def __init__(self, text: str, code: ExitCode) -> None:
        super().__init__(text)
        self.code = code
