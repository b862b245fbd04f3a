"""Approved mappings taken up while messages come. A message is read with one code set, whole; what was read keeps its digest.

Between two messages the code set of a name is replaced, so none waits and none is lost. A file that is wrong, or that nobody approved, is
told once and not used: the one before goes on.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from backbone.telemetry import logger
from services.hl7_listener.code_set import CodeSet
from services.hl7_listener.consequence import Consequences
from services.hl7_listener.mapping import BadMapping
from services.hl7_listener.mapping_folder import MappingFolder
from services.hl7_listener.telling import Teller

EACH_S: Final = 2.0


class MappingWatch:
    """Looks at the live files of the mappings in use."""

    def __init__(self, folder: MappingFolder, codes: Mapping[str, CodeSet]) -> None:
        """Begin with what is in use."""
        self._folder, self._codes = folder, dict(codes)
        self._seen: dict[str, tuple[int, int, int] | None] = dict.fromkeys(codes)

    def changed(self) -> dict[str, CodeSet]:
        """Return the mappings that were approved and replaced since the last look. Blocking."""
        found: dict[str, CodeSet] = {}
        for name, seen in self._seen.items():
            stamp = _stamp(self._folder.path(name))
            if stamp == seen:
                continue
            self._seen[name] = stamp
            try:
                codes = self._folder.newer(name, self._codes[name].digest)
            except BadMapping as fault:
                logger().warning("mapping_not_used", mapping=name, error=str(fault))
                continue
            if codes is not None:
                found[name] = self._codes[name] = codes
        return found


async def watch(mappings: MappingWatch, consequences: Consequences, teller: Teller) -> None:
    """Let each changed mapping be used and told, for ever."""
    while True:
        await asyncio.sleep(EACH_S)
        for name, codes in (await asyncio.to_thread(mappings.changed)).items():
            consequences.use(name, codes)
            teller.loaded(name, codes)
            logger().info("mapping_loaded", mapping=name)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_mtime_ns, about.st_size, about.st_ino
