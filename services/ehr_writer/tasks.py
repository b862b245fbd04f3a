"""The hands: a Celery task whose only argument is the id of a row of `outbox`.

celery --quiet -A services.ehr_writer.tasks worker --without-mingle --without-gossip --without-heartbeat --pool prefork --concurrency 2

With `--plan` the worker is planner and sweeper, too.
"""

from functools import cache
from random import Random

from celery.signals import setup_logging, worker_ready
from sqlalchemy.pool import QueuePool

from backbone import telemetry
from backbone.clock import SystemClock
from backbone.database import DatabaseDown, engine_of
from backbone.lifecycle import ready
from backbone.vault import open_vault
from services.ehr_writer.broker import TASK, app, settings, targets
from services.ehr_writer.delivery import Courier, Patience
from services.ehr_writer.ehr import Ehr
from services.ehr_writer.outbox import Outbox
from services.ehr_writer.planning import offer
from services.ehr_writer.targets import TargetMode


@cache
def courier() -> Courier:
    """Return this worker process's connections, made at its first task."""
    given, (found, _) = settings(), targets()
    clock = SystemClock()
    patience = Patience(given.try_s, given.lease_s, given.held_s, given.backoff_s, given.longest_backoff_s, given.most_faults)
    return Courier(
        outbox=Outbox(engine_of(given.database_url, pool=QueuePool)),
        seal=open_vault(given.keys).identity,
        ehrs={target.name: Ehr(target, clock, given.request_s) for target in found if target.mode is TargetMode.LIVE},
        targets={target.name: target for target in found},
        patience=patience,
        random=Random(),
    )


def deliver(row_id: int) -> None:
    """Try one row. The process's last resort is here: a fault that nobody expected is logged by its type, and the lease ends."""
    try:
        courier().deliver(row_id)
    except DatabaseDown as fault:
        telemetry.logger().warning("peer_down", target="postgresql", error=str(fault))
    except Exception as fault:  # noqa: BLE001  its text may hold what a patient's resource holds
        telemetry.logger().error("failed", error_type=type(fault).__name__, index=row_id)


task = app.task(name=TASK)(deliver)


def _log_as_we_do(**_: object) -> None:
    """Keep Celery from setting up logging of its own, which would print more than our fields."""
    telemetry.configure("ehr_writer")


def _say_ready(**_: object) -> None:
    """Tell the supervisor that the worker takes tasks."""
    telemetry.logger().info("status", status="taking tasks")
    ready("taking tasks")


offer(app)
setup_logging.connect(_log_as_we_do, weak=False)
worker_ready.connect(_say_ready, weak=False)
