"""Start, run and stop planner and sweeper."""

import asyncio
from random import Random

from sqlalchemy.pool import QueuePool

from backbone import telemetry
from backbone.clock import SystemClock
from backbone.database import engine_of
from backbone.lifecycle import ready, stop_event, until_stopped
from backbone.site import Mode, read_site
from services.ehr_writer.broker import settings, targets
from services.ehr_writer.outbox import Outbox
from services.ehr_writer.planner import Plan, Planner
from services.ehr_writer.rounds import Rounds
from services.ehr_writer.settings import EhrSettings

EXIT_FAILED = 1


class Serving:
    """Says once that the process serves."""

    def __init__(self) -> None:
        """Nothing was said yet."""
        self._said = False

    def __call__(self, status: str) -> None:
        """Take the status of now."""
        if not self._said:
            telemetry.logger().info("status", status=status)
            ready(status)
        self._said = True


def rounds_of(given: EhrSettings) -> Rounds:
    """Return planner and sweeper for these settings; nothing connects yet."""
    found, mode = targets()
    engine = engine_of(given.database_url, pool=QueuePool)
    latency_s = max((source.latency_s for source in read_site(given.site).source), default=0.0)
    plan = Plan(found, given.jitter_s, given.backfill_h, simulation=mode is Mode.SIMULATION, latency_s=latency_s)
    return Rounds(Planner(engine, plan, Random()), Outbox(engine), tuple(target.name for target in found), given, SystemClock(), Serving())


async def run(given: EhrSettings) -> None:
    """Plan until the process is told to stop."""
    await until_stopped(stop_event(), rounds_of(given).keep())
    telemetry.logger().info("stopped")


def main() -> None:
    """Read the settings and run; exit 3 on a wrong setting or targets file, 1 on a fault that nobody expected."""
    telemetry.configure("ehr_writer")
    given = settings()
    targets()
    telemetry.serve_metrics(given.metrics_port)
    try:
        asyncio.run(run(given))
    except Exception as fault:  # the last resort: say it and stop, the supervisor starts us anew
        telemetry.logger().error("failed", error_type=type(fault).__name__, error=str(fault))
        raise SystemExit(EXIT_FAILED) from fault
