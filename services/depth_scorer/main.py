"""Joins the depth scorer: settings, streams, model client; drains on SIGTERM."""

import asyncio

from backbone import bundle, lifecycle, telemetry
from backbone.clock import SystemClock
from backbone.redis import streams as redis
from backbone.settings import end_with, read_settings
from backbone.site import BadSite, Mode, SiteFile, read_site
from services.depth_scorer import model_client
from services.depth_scorer.board import Rules
from services.depth_scorer.scorer import score_forever
from services.depth_scorer.settings import ScorerSettings


async def serve(settings: ScorerSettings, site: SiteFile) -> None:
    """Score until SIGTERM."""
    stopping = lifecycle.stop_event()
    manifest = bundle.read(settings.models_folder, site.model).manifest
    rules = Rules(site.thresholds, manifest.minimum_coverage_s, simulation=site.mode is Mode.SIMULATION)
    deadline_s = site.thresholds.model_late_after_s
    async with redis.connect(settings.redis_url) as streams, model_client.connect(settings.model_target, site.model, deadline_s) as model:
        lifecycle.ready(f"model {site.model}")
        await lifecycle.until_stopped(stopping, score_forever(streams, model, SystemClock(), rules))


def main() -> None:
    """Run the process."""
    telemetry.configure("depth_scorer")
    settings = read_settings(ScorerSettings)
    telemetry.serve_metrics(settings.metrics_port)
    try:
        site = read_site(settings.site)
    except BadSite as fault:
        end_with(fault)
    asyncio.run(serve(settings, site))
