"""Where a replay finds records, archive and model, and the rules of the scorer that it follows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backbone import bundle
from backbone.site import Mode, SiteFile
from backbone.supervisor.settings import CODE_ROOT
from backbone.supervisor.state import State
from services.depth_scorer.board import Rules

MODELS: Final = CODE_ROOT / "model_server" / "models"
MODEL_SOCKET: Final = "model.sock"


@dataclass(frozen=True, slots=True)
class ReplaySources:
    """Where records, archive and model are, and the rules that the scorer ran with."""

    database_url: str
    archive: Path
    keys: Path
    rules: Rules
    model: str  # name@version, asked where the record names none
    model_target: str  # gRPC target: host:port, unix:/path


def rules_of(site: SiteFile, models: Path = MODELS) -> Rules:
    """Return the rules that a scorer of this site runs with; BundleError when its model is not there."""
    manifest = bundle.read(models, site.model).manifest
    return Rules(site.thresholds, manifest.minimum_coverage_s, simulation=site.mode is Mode.SIMULATION)


def running_sources(place: State, site: SiteFile, database_url: str) -> ReplaySources:
    """Return the sources of what runs in a state folder."""
    target = f"unix:{place.socket(MODEL_SOCKET)}"
    return ReplaySources(database_url, place.archive, place.keys, rules_of(site), site.model, target)
