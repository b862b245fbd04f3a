"""The process: settings, scenario, log, control socket, rooms. On SIGTERM it discharges every patient and ends with 0."""

import asyncio
import sys
import uuid

from backbone.clock import SystemClock
from backbone.lifecycle import ready, stop_event
from backbone.settings import EXIT_CONFIG, read_settings
from backbone.telemetry import configure, logger
from services.device_simulator.control import control_socket
from services.device_simulator.hospital import Hospital
from services.device_simulator.log import SentLog
from services.device_simulator.scenario import BadScenario, Scenario, read_scenario
from services.device_simulator.settings import SimulatorSettings


async def serve(settings: SimulatorSettings, scenario: Scenario) -> None:
    """Play the scenario until the process is told to stop."""
    stopping = stop_event()
    with SentLog(settings.log) as log:
        # Control ids are unique for ever: each run brings an id of its own.
        hospital = Hospital(scenario, settings, log, SystemClock(), uuid.uuid4().hex[:10])
        hospital.prepare(stopping.is_set)
        async with control_socket(settings.control, hospital):
            ready(f"{len(scenario.rooms)} rooms")
            logger().info("playing", scenario=scenario.name, count=len(scenario.rooms), address=f"{settings.host}:{settings.port}")
            await hospital.play(stopping)
    logger().info("ended", messages=log.counts.sent)


def main() -> None:
    """Run the simulator."""
    configure("device_simulator")
    settings = read_settings(SimulatorSettings)
    try:
        scenario = read_scenario(settings.scenario)
    except BadScenario as fault:
        sys.stderr.write(f"{fault}\n")
        raise SystemExit(EXIT_CONFIG) from fault
    asyncio.run(serve(settings, scenario))
