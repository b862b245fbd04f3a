"""Joins the model server: settings, bundle, runner, gRPC; drains on SIGTERM."""

import asyncio

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from backbone import bundle as bundles
from backbone import lifecycle, telemetry
from backbone.bundle import Bundle, BundleError, UnknownBundle
from backbone.clock import SystemClock
from backbone.settings import EXIT_CONFIG, read_settings
from model_server.batcher import LARGEST_BATCH, Batcher
from model_server.contract import Contract
from model_server.open_inference import OpenInference
from model_server.runner import GoldenMismatch, Runner
from model_server.servicer import DepthScoring
from model_server.settings import ModelServerSettings
from protos.depth.v1 import depth_pb2, depth_pb2_grpc
from protos.inference import open_inference_pb2, open_inference_pb2_grpc

EXIT_FAILED, EXIT_INTEGRITY = 1, 7
SERVICES = (
    depth_pb2.DESCRIPTOR.services_by_name["DepthScoring"].full_name,
    open_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name,
)
ENVELOPE_BYTES = 64 * 1024  # what a request holds beside its tensors


def options_of(contract: Contract) -> list[tuple[str, int]]:
    """Return gRPC's options: no second server that would share the port's calls unseen, no message larger than a full request."""
    return [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", contract.largest_request + ENVELOPE_BYTES)]


async def serve(settings: ModelServerSettings, bundle: Bundle, runner: Runner) -> None:
    """Answer calls until SIGTERM; then finish those in progress."""
    stopping = lifecycle.stop_event()
    batcher = Batcher(runner.score, SystemClock(), most_waiting=settings.most_waiting)
    contract = Contract(bundle, most_rows=LARGEST_BATCH)
    server, states = grpc.aio.server(options=options_of(contract)), health.aio.HealthServicer()
    depth_pb2_grpc.add_DepthScoringServicer_to_server(DepthScoring(bundle, batcher), server)
    open_inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(OpenInference(contract, batcher), server)
    health_pb2_grpc.add_HealthServicer_to_server(states, server)
    server.add_insecure_port(settings.listen)
    await server.start()
    for service in ("", *SERVICES):
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
