"""Start, run and stop the HL7 listener."""

import asyncio
from datetime import timedelta

from backbone import telemetry
from backbone.clock import SystemClock
from backbone.lifecycle import ready, stop_event, until_stopped
from backbone.redis.streams import connect
from backbone.settings import end_with, read_settings
from backbone.site import BadSite, SiteFile, read_site
from backbone.vault import open_vault
from services.hl7_listener.code_set import CodeSet
from services.hl7_listener.consequence import Consequences
from services.hl7_listener.forwarder import Forwarder
from services.hl7_listener.inspect import Inspection, serve
from services.hl7_listener.intake import Intake, Limits
from services.hl7_listener.journal import Journal
from services.hl7_listener.journal_reader import kept_in
from services.hl7_listener.kept import BOARD, CLOCK
from services.hl7_listener.mapping import BadMapping
from services.hl7_listener.mapping_folder import MappingFolder, codes_of
from services.hl7_listener.mapping_watch import MappingWatch, watch
from services.hl7_listener.server import MllpServer
from services.hl7_listener.settings import ListenerSettings
from services.hl7_listener.telling import Teller

EXIT_FAILED = 1


async def watch_silence(intake: Intake, settings: ListenerSettings) -> None:
    """Let time end Occupancies; not at once after a start, as senders then deliver what they held back."""
    await asyncio.sleep(settings.silence_grace_s)
    while True:
        intake.tick()
        await asyncio.sleep(settings.silence_check_s)


async def run(settings: ListenerSettings, site: SiteFile, codes: dict[str, CodeSet]) -> None:
    """Listen until the process is told to stop, or the journal fails."""
    stopping, clock, vault = stop_event(), SystemClock(), open_vault(settings.keys)
    journal = Journal(settings.journal, vault.journal)
    consequences = Consequences(site, codes, vault, kept_in(settings.journal, (BOARD, CLOCK)))
    intake = Intake(site, consequences, journal, listener=settings.name, clock=clock, limits=Limits(settings.disk_budget_mb * 1_000_000))
    server = MllpServer(intake, settings.peers)
    mappings = MappingWatch(MappingFolder(settings.mappings), codes)
    async with connect(settings.redis_url) as streams:
        teller, keep = Teller(journal, settings.name, codes, clock), timedelta(minutes=site.retention.stream_minutes)
        forwarder = Forwarder(journal, streams, settings.name, teller, clock, keep)
        inspection, inspect_port = await serve(Inspection(settings.name, journal, forwarder), settings.inspect_port)
        port = await server.start(settings.host or site.listen.host, site.listen.port if settings.port is None else settings.port)
        telemetry.logger().info("listening", port=port, generation=journal.generation)
        ready(f"port={port} inspect_port={inspect_port}")
        try:
            await until_stopped(
                stopping, journal.failed(), forwarder.forward(), watch_silence(intake, settings), watch(mappings, consequences, teller)
            )
        finally:
            await server.close()
            await inspection.stop(1.0)
            await journal.close()
            intake.close()


def main() -> None:
    """Read settings, site file and mappings, and run; exit 3 on a wrong one, 1 on a fault that nobody expected."""
    telemetry.configure("hl7_listener")
    settings = read_settings(ListenerSettings)
    try:
        site = read_site(settings.site)
        codes = codes_of(site, settings.mappings)
    except (BadSite, BadMapping) as fault:
        end_with(BadSite(str(fault)))
    telemetry.serve_metrics(settings.metrics_port)
    try:
        asyncio.run(run(settings, site, codes))
    except Exception as fault:  # the last resort: say it and stop, the supervisor starts us anew
        telemetry.logger().error("failed", error_type=type(fault).__name__, error=str(fault))
        raise SystemExit(EXIT_FAILED) from fault
