"""Runs the rooms in time: admits, ticks at whole seconds, discharges. The only part that waits."""

import asyncio
import contextlib
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from backbone.clock import Clock
from backbone.telemetry import logger
from services.device_simulator.bedside import bedside_of
from services.device_simulator.faults import BadCommand, Command
from services.device_simulator.log import SentLog
from services.device_simulator.room import SECOND, Letterhead, Outgoing, Room
from services.device_simulator.scenario import RoomPlan, Scenario, Step
from services.device_simulator.sender import Peer, Sender
from services.device_simulator.settings import SimulatorSettings

LARGEST_PHASE_S = 0.2  # rooms do not burst at once


class FasterClock:
    """A clock that runs `speed` times as fast as another from now on."""

    def __init__(self, clock: Clock, speed: float) -> None:
        self._clock, self._speed = clock, speed
        self._wall, self._since = clock.now(), clock.monotonic_s()

    def now(self) -> datetime:
        """Return the simulated time."""
        if self._speed == 1.0:
            return self._clock.now()
        return self._wall + timedelta(seconds=self.monotonic_s() - self._since)

    def monotonic_s(self) -> float:
        """Return simulated seconds that never step."""
        return self._since + (self._clock.monotonic_s() - self._since) * self._speed

    async def until(self, instant: datetime) -> None:
        """Wait for an instant of the simulated time."""
        left = (instant - self.now()).total_seconds()
        if left > 0.0:
            await asyncio.sleep(left / self._speed)


@dataclass(slots=True)
class Ward:
    """A room with its connections."""

    room: Room
    phase: timedelta
    monitor: Sender
    pump: Sender
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Hospital:
    """All rooms of a scenario."""

    def __init__(self, scenario: Scenario, settings: SimulatorSettings, log: SentLog, clock: Clock, run: str) -> None:
        self._scenario, self._settings, self._log = scenario, settings, log
        self._clock = FasterClock(clock, settings.speed)
        self._letters = Letterhead(run)
        self._peer = Peer(
            settings.host,
            settings.port,
            settings.connect_timeout_s,
            settings.ack_timeout_s,
            settings.longest_backoff_s,
            settings.queue_messages,
        )
        self._adt = self._sender()
        self._wards: dict[str, Ward] = {}
        self._admitted: set[str] = set()

    def _sender(self) -> Sender:
        return Sender(self._peer, self._log, self._clock)

    def prepare(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Make the rooms and live through what happened before they are seen."""
        for plan in self._scenario.rooms:
            if stopped():
                return
            self._wards[plan.name] = self._ward(plan)

    def _ward(self, plan: RoomPlan) -> Ward:
        rng = np.random.default_rng([self._settings.seed, zlib.crc32(plan.name.encode())])
        phase = timedelta(seconds=float(rng.uniform(0.0, LARGEST_PHASE_S)))
        bedside, missing = bedside_of(plan, self._settings.data, self._clock.now().date(), rng)
        if missing is not None:
            logger().warning("recording_absent", room=plan.name, reason=missing)
            self._log.write("recording_absent", room=plan.name, reason=missing)
        room = Room(plan, bedside, self._letters)
        room.prepare()
        return Ward(room, phase, self._sender(), self._sender())

    async def run(self) -> None:
        """Run every room until it is discharged, then wait: the process ends by its signal."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._adt.run())
            for ward in self._wards.values():
                group.create_task(ward.monitor.run())
                group.create_task(ward.pump.run())
                group.create_task(self._live(ward))

    async def play(self, stopping: asyncio.Event) -> None:
        """Run until the event is set, then discharge every patient and end."""
        playing = asyncio.ensure_future(self.run())
        stop = asyncio.ensure_future(stopping.wait())
        try:
            await asyncio.wait([playing, stop], return_when=asyncio.FIRST_COMPLETED)
            if not playing.done():
                await self._farewell()
        finally:
            stop.cancel()
            playing.cancel()
            results = await asyncio.gather(playing, return_exceptions=True)
        for fault in results:
            if isinstance(fault, Exception):
                raise fault

    async def _farewell(self) -> None:
        """Silence the devices, let what they sent be answered, and discharge: within the time that settings allow."""
        for ward in self._wards.values():
            ward.over.set()
        try:
            async with asyncio.timeout(self._settings.farewell_s):
                await asyncio.gather(*(self._end(ward) for name, ward in self._wards.items() if name in self._admitted))
        except TimeoutError:
            logger().warning("discharges_unanswered", deadline_s=self._settings.farewell_s)

    async def _end(self, ward: Ward) -> None:
        with contextlib.suppress(TimeoutError):  # a discharge is worth more than a last reading
            async with asyncio.timeout(self._settings.farewell_s / 2.0):
                await asyncio.gather(ward.monitor.drained(), ward.pump.drained())
        await self._discharge(ward)

    async def _discharge(self, ward: Ward) -> None:
        if ward.room.discharged:
            return
        now = self._clock.now()
        answer = self._adt.post(ward.room.discharge(self._scenario.adt_application, now))
        self._log.discharged(ward.room.plan.name, now)
        await answer
        logger().info("room_discharged", room=ward.room.plan.name)

    async def _live(self, ward: Ward) -> None:
        """Admit a patient, then tick at each whole second until the discharge."""
        plan = ward.room.plan
        # The whole second before now: readings of the first full second are then inside the stay.
        admitted = self._clock.now().replace(microsecond=0)
        await self._adt.post(ward.room.admission(self._scenario.adt_application, admitted, self._clock.now()))
        self._admitted.add(plan.name)
        self._log.admitted(plan.name, admitted)
        logger().info("room_admitted", room=plan.name)
        end = _next_second(self._clock.now())
        while not (ward.over.is_set() or ward.room.discharged):
            await self._clock.until(end + ward.phase)
            if ward.over.is_set():
                return
            await self._tick(ward, end)
            end += SECOND

    async def _tick(self, ward: Ward, end: datetime) -> None:
        for step in ward.room.due_moves():
            await self._move(ward, step)
        if ward.room.discharged:
            return
        for message in ward.room.tick(end, self._clock.now()):
            self._sender_of(ward, message).post(message)

    @staticmethod
    def _sender_of(ward: Ward, message: Outgoing) -> Sender:
        return ward.pump if message.kind == "pump" else ward.monitor

    async def _move(self, ward: Ward, step: Step) -> None:
        if step.move_to is not None:
            await self._adt.post(ward.room.transfer(self._scenario.adt_application, step.move_to, self._clock.now()))
        if step.discharge:
            await self._discharge(ward)

    def obey(self, command: Command) -> None:
        """Let a commanded fault happen; raise BadCommand where there is no such room."""
        ward = self._wards.get(command.room)
        if ward is None:
            raise BadCommand(f"room: no {command.room!r}; rooms: {', '.join(self._wards)}")
        ward.room.take(command.fault, command.ml)
        self._log.write("fault", room=command.room, fault=command.fault, at=self._clock.now().isoformat())
        logger().info("fault", room=command.room, fault=command.fault)

    def status(self) -> dict[str, object]:
        """Return counts and, for each room, what its patient is like now."""
        counts = self._log.counts
        rooms = {name: _told(ward) for name, ward in self._wards.items()}
        return {
            "sent": counts.sent,
            "acknowledged": counts.acknowledged,
            "rejected": counts.rejected,
            "dropped": counts.dropped,
            "rooms": rooms,
        }


def _told(ward: Ward) -> dict[str, object]:
    room, latest = ward.room, ward.room.latest
    return {
        "bed": room.bed,
        "elapsed_s": room.elapsed_s,
        "depth": None if latest is None else round(latest.depth, 1),
        "device_index": None if latest is None else latest.index.bis,
        "discharged": room.discharged,
        "waiting": ward.monitor.waiting + ward.pump.waiting,
    }


def _next_second(now: datetime) -> datetime:
    return datetime.fromtimestamp(math.floor(now.timestamp()) + 1, UTC)
