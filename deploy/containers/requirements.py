"""What an image installs: one requirements file for the core and for each extra of `pyproject.toml`.

python requirements.py PYPROJECT FOLDER

Only the third-party packages: the code itself is copied, so that a change of code installs nothing anew.
"""

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

# The `sopor` command beside servers that run elsewhere: no PyTorch, and no servers of its own.
TOOLS: Final = ("listener", "scorer", "ledger", "ehr", "web", "simulator")
TOOLS_OF_DEMO: Final = ("psutil", "rich", "sekmet-fhir", "typer")
EHR: Final = ("sekmet-fhir",)


def name_of(requirement: str) -> str:
    """Return the package's name: `redis` of `redis[hiredis]>=6`."""
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]


def only(requirements: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the requirements with these names; LookupError when one is gone."""
    found = [requirement for requirement in requirements if name_of(requirement) in names]
    if len(found) != len(names):
        raise LookupError(f"pyproject.toml: not all of {', '.join(names)} stand in the extra any more")
    return found


def lists_of(pyproject: Mapping[str, object]) -> Iterator[tuple[str, list[str]]]:
    """Yield each list's name and its requirements."""
    project = pyproject["project"]
    assert isinstance(project, dict)
    extras = project["optional-dependencies"]
    yield "core", project["dependencies"]
    for name in (*TOOLS, "model-server"):
        yield name, extras[name]
    yield "tools", [*(one for name in TOOLS for one in extras[name]), *only(extras["demo"], TOOLS_OF_DEMO)]
    yield "demo-ehr", only(extras["demo"], EHR)


def main(pyproject: Path, folder: Path) -> None:
    """Write `FOLDER/<list>.txt`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, requirements in lists_of(tomllib.loads(pyproject.read_text(encoding="utf-8"))):
        (folder / f"{name}.txt").write_text("\n".join(dict.fromkeys(requirements)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
