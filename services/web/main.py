"""Start, run and stop the wall."""

import asyncio

from anesthesia.reading import Bed
from backbone import telemetry
from backbone.clock import SystemClock
from backbone.database import Reader
from backbone.lifecycle import ready, stop_event, until_stopped
from backbone.redis.streams import connect
from backbone.settings import end_with, read_settings
from backbone.site import BadSite, Mode, SiteFile, read_site
from services.web.history import History
from services.web.live import Live
from services.web.pages import application
from services.web.serving import listening_on, serve, url_of
from services.web.settings import WebSettings
from services.web.views import Views

EXIT_FAILED = 1


def _site_of(settings: WebSettings) -> SiteFile:
    site = read_site(settings.site)
    if site.mode is Mode.SILENT:
        raise BadSite(f"{settings.site}: mode silent shows records to no one, so the wall does not run")
    return site


async def run(settings: WebSettings, site: SiteFile) -> None:
    """Serve the wall until the process is told to stop."""
    stopping, clock = stop_event(), SystemClock()
    views = Views(settings.database_url, site.site, clock)
    history = History(Reader(settings.database_url), settings.database_deadline_s)
    async with connect(settings.redis_url) as streams:
        live = Live(site, streams, history, clock, most_viewers=settings.most_viewers)
        app = application(live, history, views, {bed.name: Bed(site.site, bed.name) for bed in site.bed})
        listening = listening_on(settings.host, settings.port)
        telemetry.logger().info("serving", url=url_of(listening))
        ready(url_of(listening))
        try:
            works = (live.follow(), live.beat(), live.watch_ledger(), views.hand_in(), serve(app, listening, before_stop=live.stop))
            await until_stopped(stopping, *works)
        finally:
            history.close()
            views.close()
    telemetry.logger().info("stopped")


def main() -> None:
    """Read the settings and run; exit 3 on a wrong setting, 1 on a fault that nobody expected."""
    telemetry.configure("web")
    settings = read_settings(WebSettings)
    try:
        site = _site_of(settings)
    except BadSite as fault:
        end_with(fault)
    telemetry.serve_metrics(settings.metrics_port)
    try:
        asyncio.run(run(settings, site))
    except Exception as fault:
        telemetry.logger().error("failed", error_type=type(fault).__name__, error=str(fault))
        raise SystemExit(EXIT_FAILED) from fault
