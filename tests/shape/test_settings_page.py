"""The page of environment variables names all that a process reads, and nothing that none does."""

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from pydantic import AliasChoices

from backbone.settings import ProcessSettings

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "settings.md"
OWNERS = ("backbone.supervisor", "model_server", *(f"services.{p.parent.name}" for p in sorted((ROOT / "services").glob("*/settings.py"))))


def variables_of(kind: type[ProcessSettings]) -> Iterator[str]:
    prefix = kind.model_config.get("env_prefix", "")
    for name, field in kind.model_fields.items():
        match field.validation_alias:
            case None:
                yield f"{prefix}{name}".upper()
            case AliasChoices(choices=choices):
                yield from (str(choice) for choice in choices)
            case alias:
                yield str(alias)


def test_the_page_of_variables_names_exactly_those_that_are_read():
    kinds = [kind for owner in OWNERS for kind in vars(import_module(f"{owner}.settings")).values() if isinstance(kind, type)]
    read = {name for kind in kinds if issubclass(kind, ProcessSettings) for name in variables_of(kind)}

    told = set(re.findall(r"`((?:SOPOR_|XDG_)[A-Z_]+)`", PAGE.read_text(encoding="utf-8")))

    assert told == read
