"""Start, run and stop the ledger."""

import asyncio

from backbone import telemetry
from backbone.clock import SystemClock
from backbone.lifecycle import ready, stop_event, until_stopped
from backbone.redis.streams import connect
from backbone.settings import read_settings
from services.ledger.keeper import Keeper
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


async def run(settings: LedgerSettings) -> None:
    """Keep the ledger until the process is told to stop."""
    stopping = stop_event()
    async with connect(settings.redis_url) as streams:
        keeper = Keeper(streams, settings, SystemClock(), Serving())
        await until_stopped(stopping, keeper.keep())
    telemetry.logger().info("stopped")


def main() -> None:
    """Read the settings and run; exit 3 on a wrong setting, 1 on a fault that nobody expected."""
    telemetry.configure("ledger")
    settings = read_settings(LedgerSettings)
    telemetry.serve_metrics(settings.metrics_port)
    try:
        asyncio.run(run(settings))
    except Exception as fault:  # the last resort: say it and stop, the supervisor starts us anew
        telemetry.logger().error("failed", error_type=type(fault).__name__, error=str(fault))
        raise SystemExit(EXIT_FAILED) from fault
