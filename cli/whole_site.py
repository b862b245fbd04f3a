"""The site file with all that it names: its mappings and its model, checked before anything is started."""

from pathlib import Path
from typing import Final

from backbone import bundle
from backbone.bundle import BundleError
from backbone.site import BadSite, SiteFile, read_site
from backbone.supervisor.settings import CODE_ROOT
from services.hl7_listener.mapping import BadMapping
from services.hl7_listener.mapping_folder import MappingFolder, needs_approval

MODELS: Final = CODE_ROOT / "model_server" / "models"


def _line_of(text: str, value: str) -> int:
    """Return the line of the file that holds a quoted value; 1 when it stands there only by default."""
    return next((n for n, line in enumerate(text.splitlines(), 1) if f'"{value}"' in line), 1)


def read_whole_site(path: Path, mappings: Path) -> SiteFile:
    """Return the checked site file; BadSite names file and line of a mapping or model that is not there or not right."""
    site = read_site(path)
    text = path.read_text(encoding="utf-8")
    faults = []
    for name in sorted({source.mapping for source in site.source if source.mapping is not None}):
        try:
            MappingFolder(mappings).live(name, approved_only=needs_approval(site))
        except BadMapping as fault:
            faults.append(f"{path}:{_line_of(text, name)}: mapping {name!r}: {fault}")
    try:
        bundle.read(MODELS, site.model)
    except BundleError as fault:
        faults.append(f"{path}:{_line_of(text, site.model)}: model {site.model!r}: {fault}")
    if faults:
        raise BadSite("\n".join(faults))
    return site
