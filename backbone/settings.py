"""How every process reads its settings: once, at start, from its own prefix; a wrong one ends the process and says which.

A subclass names its prefix: `class ScorerSettings(ProcessSettings, env_prefix="SOPOR_SCORER_")`.
"""

import os
import sys
from typing import NoReturn, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from backbone.site import BadSite

EXIT_CONFIG = 3


class ProcessSettings(BaseSettings):
    """Frozen settings from environment variables. Shared ones (`SOPOR_SITE`, `SOPOR_REDIS_URL`, ...) use a validation alias."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_ignore_empty=True, populate_by_name=True)


S = TypeVar("S", bound=ProcessSettings)


def _end(lines: list[str]) -> NoReturn:
    sys.stderr.write("\n".join(lines) + "\n")
    raise SystemExit(EXIT_CONFIG)


def read_settings(kind: type[S]) -> S:
    """Return the settings, or end the process (exit 3) with each wrong variable's name and what it must be."""
    prefix = kind.model_config.get("env_prefix", "")
    known = {f"{prefix}{name}".upper() for name, about in kind.model_fields.items() if about.validation_alias is None}
    given = os.environ  # noqa: TID251  this is the place
    unknown = sorted(name for name in given if prefix and name.startswith(prefix) and name not in known)
    if unknown:
        _end([f"{kind.__name__}: {name}: no such setting; known: {', '.join(sorted(known))}" for name in unknown])
    try:
        return kind()
    except ValidationError as fault:
        lines = [f"{kind.__name__}: {fault.error_count()} wrong setting(s)"]
        for error in fault.errors():
            name = "_".join(str(part) for part in error["loc"]).upper()
            lines.append(f"  {name if name.startswith('SOPOR_') else prefix + name}: {error['msg']}")
        _end(lines)
    except BadSite as fault:
        _end([str(fault)])


def end_with(fault: BadSite) -> NoReturn:
    """End the process because of the site file, naming its line."""
    _end([str(fault)])
