"""Start, run and stop the ledger."""

import asyncio

from backbone import telemetry
from backbone.clock import SystemClock
from backbone.lifecycle import ready, stop_event, until_stopped
from backbone.redis.streams import connect
from backbone.settings import end_with, read_settings
from backbone.site import BadSite, SiteFile, read_site
from backbone.vault import archive_seal
from services.ledger.archivist import Archivist
from services.ledger.keeper import Beside, Keeper
from services.ledger.settings import LedgerSettings

EXIT_FAILED = 1


class Serving:
    """Says once that the process serves, and logs each change between leading and standing by."""

    def __init__(self) -> None:
        """Nothing was said yet."""
        self._status = ""

    def __call__(self, status: str) -> None:
        """Take the status of now."""
        if not self._status:
            ready(status)
        if status != self._status:
            telemetry.logger().info("status", status=status)
        self._status = status


async def run(settings: LedgerSettings, site: SiteFile) -> None:
    """Keep the ledger until the process is told to stop."""
    stopping, clock = stop_event(), SystemClock()
    latency_s = max(source.latency_s for source in site.source)
    async with connect(settings.redis_url) as streams:
        archivist = Archivist(streams, settings, archive_seal(settings.keys), clock, latency_s)
        keeper = Keeper(streams, settings, clock, archivist, Beside(Serving(), site.retention.stream_minutes))
        await until_stopped(stopping, keeper.keep())
    telemetry.logger().info("stopped")


def main() -> None:
    """Read the settings and run; exit 3 on a wrong setting, 1 on a fault that nobody expected."""
    telemetry.configure("ledger")
    settings = read_settings(LedgerSettings)
    try:
        site = read_site(settings.site)
    except BadSite as fault:
        end_with(fault)
    telemetry.serve_metrics(settings.metrics_port)
    try:
        asyncio.run(run(settings, site))
    except Exception as fault:  # the last resort: say it and stop, the supervisor starts us anew
        telemetry.logger().error("failed", error_type=type(fault).__name__, error=str(fault))
        raise SystemExit(EXIT_FAILED) from fault
