"""Planner and sweeper inside a Celery worker: `celery ... worker --plan`, as its own `--beat`. Where one worker is enough, one process is.

Celery documents how: https://docs.celeryq.dev/en/stable/userguide/extending.html (bootsteps, `user_options`).
"""

import asyncio
import os
import signal
from threading import Thread
from typing import Any

from celery import Celery, bootsteps
from click import Option

from backbone import telemetry
from backbone.lifecycle import until_stopped
from services.ehr_writer.broker import settings
from services.ehr_writer.main import rounds_of

STOP_WITHIN_S = 10.0


class PlanningThread:
    """The rounds in a thread with a loop of its own. A fault that nobody expected ends the process, as it ends the planner's own."""

    def __init__(self) -> None:
        """Nothing runs yet."""
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = Thread(target=self._run, name="planner", daemon=True)

    def start(self) -> None:
        """Plan from now on."""
        telemetry.serve_metrics(settings().metrics_port)
        self._thread.start()

    def stop(self) -> None:
        """Finish the round in progress."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(STOP_WITHIN_S)

    terminate = stop

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(until_stopped(self._stopping, rounds_of(settings()).keep()))
        except Exception as fault:  # noqa: BLE001  the last resort of a thread: say it and stop, the supervisor starts us anew
            telemetry.logger().error("failed", error_type=type(fault).__name__, error=str(fault))
            os.kill(os.getpid(), signal.SIGTERM)


class Planning(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """The step of a worker that was asked to plan, too."""

    conditional = True

    def __init__(self, worker: Any, *, plan: bool = False, **options: Any) -> None:  # noqa: ANN401  Celery's own signature
        """Take the option from the command line."""
        self.enabled = plan
        super().__init__(worker, plan=plan, **options)

    def create(self, _: Any) -> PlanningThread:  # noqa: ANN401  Celery's own signature
        """Return what Celery starts and stops with the worker."""
        return PlanningThread()


def offer(app: Celery) -> None:
    """Give the application's workers the option."""
    app.user_options["worker"].add(Option(("--plan",), is_flag=True, help="Plan and sweep in this worker, too."))
    app.steps["worker"].add(Planning)
