"""Joins the model server: settings, bundle, runner, gRPC; drains on SIGTERM."""

import asyncio

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from backbone import bundle as bundles
from backbone import lifecycle, telemetry
from backbone.bundle import Bundle, BundleError, UnknownBundle
from backbone.clock import SystemClock
from backbone.settings import EXIT_CONFIG, read_settings
from model_server.batcher import Batcher
from model_server.runner import GoldenMismatch, Runner
from model_server.servicer import DepthScoring
from model_server.settings import ModelServerSettings
from protos.depth.v1 import depth_pb2, depth_pb2_grpc

EXIT_FAILED, EXIT_INTEGRITY = 1, 7
SERVICE = depth_pb2.DESCRIPTOR.services_by_name["DepthScoring"].full_name
# Two servers on one port would share its calls unseen.
OPTIONS = (("grpc.so_reuseport", 0),)


async def serve(settings: ModelServerSettings, bundle: Bundle, runner: Runner) -> None:
    """Answer calls until SIGTERM; then finish those in progress."""
    stopping = lifecycle.stop_event()
    batcher = Batcher(runner.score, SystemClock(), most_waiting=settings.most_waiting)
    server, states = grpc.aio.server(options=OPTIONS), health.aio.HealthServicer()
    depth_pb2_grpc.add_DepthScoringServicer_to_server(DepthScoring(bundle, batcher), server)
    health_pb2_grpc.add_HealthServicer_to_server(states, server)
    server.add_insecure_port(settings.listen)
    await server.start()
    for service in ("", SERVICE):
        await states.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def until_drained() -> None:
        await stopping.wait()
        await states.enter_graceful_shutdown()
        await server.stop(settings.drain_s)

    telemetry.logger().info("serving", model=bundle.reference, digest=bundle.digest, address=settings.listen)
    lifecycle.ready(f"model {bundle.reference}")
    # The batcher must outlive the calls it answers, so its end is that of the drain, not of the signal.
    await lifecycle.until_stopped(asyncio.Event(), batcher.work(), until_drained())
    telemetry.logger().info("stopped")


def opened(settings: ModelServerSettings) -> tuple[Bundle, Runner]:
    """Return the verified bundle and its runner; end the process with 3 for a wrong name, with 7 for bytes or answers that differ."""
    try:
        bundle = bundles.read(settings.models_folder, settings.model)
        return bundle, Runner(bundle)
    except (BundleError, GoldenMismatch) as fault:
        telemetry.logger().error("bundle_refused", error_type=type(fault).__name__, error=str(fault))
        raise SystemExit(EXIT_CONFIG if isinstance(fault, UnknownBundle) else EXIT_INTEGRITY) from fault


def main() -> None:
    """Run the process; exit 1 on a fault that nobody expected."""
    telemetry.configure("model_server")
    settings = read_settings(ModelServerSettings)
    telemetry.serve_metrics(settings.metrics_port)
    bundle, runner = opened(settings)
    try:
        asyncio.run(serve(settings, bundle, runner))
    except Exception as fault:  # the last resort: say it and stop, the supervisor starts us anew
        telemetry.logger().error("failed", error_type=type(fault).__name__, error=str(fault))
        raise SystemExit(EXIT_FAILED) from fault
