"""The planner's and sweeper's endless rounds: plan what is due, take back what was lost, wake the workers."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

from backbone.clock import Clock
from backbone.database import DatabaseDown, upgrade
from backbone.ehr_tables import OutboxState
from backbone.telemetry import counter, gauge, logger
from services.ehr_writer.broker import wake
from services.ehr_writer.errors import BrokerDown
from services.ehr_writer.outbox import WATCHED, Outbox
from services.ehr_writer.planner import Planner
from services.ehr_writer.settings import EhrSettings

LONGEST_PAUSE_S: Final = 10.0
COUNT_EACH_S: Final = 5.0

OUTAGES = counter("ehr_outages", "Times that PostgreSQL or the broker did not answer", "target")
EXPIRED = counter("ehr_expired", "Rows taken back because their worker was gone")
ROWS = gauge("ehr_rows", "Rows that are not written yet, and those that never will be", "target", "state")


@dataclass(slots=True)
class Rounds:
    """What goes from round to round."""

    planner: Planner
    outbox: Outbox
    targets: tuple[str, ...]
    settings: EhrSettings
    clock: Clock
    serving: Callable[[str], None]
    failures: int = 0
    counted_at_s: float = 0.0
    held: int = 0

    async def keep(self) -> NoReturn:
        """Go round for ever, through every outage."""
        migrated = False
        while True:
            try:
                if not migrated:
                    await asyncio.to_thread(upgrade, self.settings.database_url)
                    migrated = True
                await asyncio.to_thread(self.once)
                self.failures = 0
                self.serving("planning")
                await asyncio.sleep(self.settings.tick_s)
            except DatabaseDown as fault:
                await self._pause("postgresql", fault)
            except BrokerDown as fault:
                await self._pause("broker", fault)

    def once(self) -> None:
        """One round. The broker is told before the row remembers it: a message too many is harmless."""
        self.planner.plan(self.clock.now())
        EXPIRED.inc(self.outbox.expire(self.settings.most_faults))
        for row_id, target in self.outbox.to_queue(self.targets, self.settings.requeue_s):
            wake(row_id, target)
            self.outbox.queued([row_id])
        self._count()

    def _count(self) -> None:
        if self.clock.monotonic_s() - self.counted_at_s < COUNT_EACH_S:
            return
        self.counted_at_s = self.clock.monotonic_s()
        counts = self.outbox.counts()
        for target in {target for target, _ in counts}:
            for state in WATCHED:
                ROWS.labels(target, state).set(counts.get((target, state), 0))
        held = sum(count for (_, state), count in counts.items() if state == OutboxState.HELD)
        if held != self.held:
            logger().warning("held", count=held)
        self.held = held

    async def _pause(self, target: str, fault: Exception) -> None:
        self.failures += 1
        OUTAGES.labels(target).inc()
        backoff_s = min(LONGEST_PAUSE_S, self.settings.tick_s * 2.0 ** min(self.failures, 8))
        logger().warning("peer_down", target=target, error=str(fault), attempts=self.failures, backoff_s=backoff_s)
        await asyncio.sleep(backoff_s)
