"""The broker: which queues there are, how Celery behaves, and how a worker is woken. A message is a wake-up and nothing more.

Losing a message, or getting it twice, changes nothing: the row in `outbox` is the truth. Each target has a queue of its own, so that an
EHR that is down does not stand in the way of another. Settings are read when Celery first asks for its configuration, not at import.
"""

from functools import cache
from typing import Any, Final

from celery import Celery
from kombu.exceptions import OperationalError

from backbone.settings import end_with, read_settings
from backbone.site import BadSite, Mode, read_site
from services.ehr_writer.errors import BadTargets, BrokerDown
from services.ehr_writer.settings import EhrSettings
from services.ehr_writer.targets import Target, read_targets

TASK: Final = "sopor.ehr.deliver"
BROKER_WAIT_S: Final = 3


@cache
def settings() -> EhrSettings:
    """Return the process's settings; a wrong one ends it (exit 3)."""
    return read_settings(EhrSettings)


@cache
def targets() -> tuple[tuple[Target, ...], Mode]:
    """Return the site's targets and its mode; a wrong file ends the process (exit 3)."""
    try:
        mode = read_site(settings().site).mode
        return read_targets(settings().targets, mode), mode
    except BadSite as fault:
        end_with(fault)
    except BadTargets as fault:
        end_with(BadSite(str(fault)))


def queue_of(target: str) -> str:
    """Return the queue of a target."""
    return f"ehr.{target}"


def _configuration() -> dict[str, Any]:
    """Return Celery's settings. JSON only; nothing of a task is kept; a child takes one message at a time, acknowledged after the work."""
    queues = [queue_of(target.name) for target in targets()[0]] or ["ehr.none"]
    waits = {"socket_timeout": BROKER_WAIT_S, "socket_connect_timeout": BROKER_WAIT_S, "max_retries": 1, "interval_start": 0}
    return {
        "broker_url": settings().broker_url,
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": {
            **waits,
            "visibility_timeout": settings().visibility_s,
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
            "global_keyprefix": "sopor.ehr:",
        },
        "task_queues": {name: {"exchange": "ehr", "routing_key": name} for name in queues},
        "task_create_missing_queues": False,
        "accept_content": ["json"],
        "task_serializer": "json",
        "task_ignore_result": True,
        "task_acks_late": True,
        "task_acks_on_failure_or_timeout": True,
        "task_reject_on_worker_lost": False,  # else a poisonous row loops without end; the lease brings the row back instead
        "task_time_limit": settings().hard_limit_s,
        "worker_prefetch_multiplier": 1,
        "worker_max_tasks_per_child": 5000,
        "worker_send_task_events": False,
        "worker_enable_remote_control": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "enable_utc": True,
    }


app = Celery("ehr_writer", set_as_current=True)
app.add_defaults(_configuration)


def wake(row_id: int, target: str) -> None:
    """Tell the workers of a target that a row is due; BrokerDown when nobody takes the message."""
    try:
        app.send_task(TASK, (row_id,), queue=queue_of(target), retry=False)
    except (OperationalError, OSError) as fault:
        raise BrokerDown(type(fault).__name__) from fault
