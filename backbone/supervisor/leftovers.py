"""Processes of an earlier supervisor that was killed and whose children did not heed the kernel's parent-death signal."""

from collections.abc import Iterable
from typing import Final

import psutil

from backbone.supervisor.status import ProcessStatus, living

PATIENCE_S: Final = 5.0  # they were asked already, by their parent's death


def end(processes: Iterable[ProcessStatus]) -> list[tuple[str, int]]:
    """Wait for what still runs of these, then kill it. Returns name and process id of each that was found."""
    found = [(entry.name, process) for entry in processes if (process := living(entry)) is not None]
    _, stubborn = psutil.wait_procs([process for _, process in found], timeout=PATIENCE_S)
    for process in stubborn:
        process.kill()
    psutil.wait_procs(stubborn, timeout=PATIENCE_S)
    return [(name, process.pid) for name, process in found]
