"""The Open Inference Protocol beside the house's own call: same batcher, same runner, one model that stays while the process runs.

A request that cannot be answered ends with a gRPC status: NOT_FOUND another model or version, INVALID_ARGUMENT other tensors than its own,
DEADLINE_EXCEEDED the caller's deadline or `timeout` passed, RESOURCE_EXHAUSTED a full queue, UNIMPLEMENTED what this server does not offer.
"""
# ruff: noqa: N802  the methods have gRPC's own names

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Final, TypeVar

import grpc

from anesthesia.errors import SoporError
from backbone.telemetry import counter
from model_server.batcher import Batcher, Overloaded
from model_server.contract import Contract
from model_server.description import config_of, metadata_of, server_of, statistics_of
from model_server.infer_tensors import BadTensors, NotOffered, response_of, rows_of
from protos.inference import open_inference_pb2 as pb
from protos.inference import open_inference_pb2_grpc as rpc

Context = grpc.aio.ServicerContext[Any, Any]
Request = TypeVar("Request")
Response = TypeVar("Response")
Handler = Callable[["OpenInference", Request, Context], Coroutine[Any, Any, Response]]

US_PER_S: Final = 1e6
DISABLED: Final = "disabled: bundles are promoted, not loaded; SOPOR_MODEL_MODEL names the one that a server starts with"
REFUSED = counter("model_infer_refused", "Open Inference requests that ended with a status", "status")


class UnknownModel(SoporError):
    """The request means a model or version that this server does not hold."""


class Late(SoporError):
    """The caller's time was over before the model had answered."""


STATUS: Final[dict[type[SoporError], grpc.StatusCode]] = {
    UnknownModel: grpc.StatusCode.NOT_FOUND,
    BadTensors: grpc.StatusCode.INVALID_ARGUMENT,
    Late: grpc.StatusCode.DEADLINE_EXCEEDED,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    NotOffered: grpc.StatusCode.UNIMPLEMENTED,
}


def _or_status(handler: Handler[Request, Response]) -> Handler[Request, Response]:
    """Let a handler raise: the caller gets the fault's status and text."""

    @wraps(handler)
    async def answered(self: "OpenInference", request: Request, context: Context) -> Response:
        try:
            return await handler(self, request, context)
        except tuple(STATUS) as fault:
            status = STATUS[type(fault)]
            REFUSED.labels(status.name).inc()
            await context.abort(status, str(fault))

    return answered


def patience_s(request: pb.ModelInferRequest, context: Context) -> float | None:
    """Return how long the caller waits: until its gRPC deadline or for the parameter `timeout` (microseconds), the shorter of both."""
    asked_us = request.parameters["timeout"].int64_param if "timeout" in request.parameters else 0
    limits = [context.time_remaining(), asked_us / US_PER_S if asked_us > 0 else None]
    return min((limit for limit in limits if limit is not None), default=None)


class OpenInference(rpc.GRPCInferenceServiceServicer):
    """Answers for the bundle of `contract` by way of `batcher`. Who hears it may call it ready: the golden vectors came out before."""

    def __init__(self, contract: Contract, batcher: Batcher) -> None:
        """Hold what every answer is made from."""
        self._contract, self._batcher = contract, batcher

    def _check(self, name: str, version: str) -> None:
        if not self._contract.names(name, version):
            bundle = self._contract.bundle
            raise UnknownModel(f"this server holds {bundle.name} in version {bundle.version}, no other model")

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:
        """Say that the process answers."""
        del request, context
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:
        """Say that the model scores."""
        del request, context
        return pb.ServerReadyResponse(ready=True)

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        """Say whether this is the model that scores; another one is no error, only not ready."""
        del context
        return pb.ModelReadyResponse(ready=self._contract.names(request.name, request.version))

    async def ServerMetadata(self, request: pb.ServerMetadataRequest, context: Context) -> pb.ServerMetadataResponse:
        """Return name, version and extensions."""
        del request, context
        return server_of()

    @_or_status
    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        """Return the model's tensors."""
        del context
        self._check(request.name, request.version)
        return metadata_of(self._contract)

    @_or_status
    async def ModelConfig(self, request: pb.ModelConfigRequest, context: Context) -> pb.ModelConfigResponse:
        """Return the model's configuration."""
        del context
        self._check(request.name, request.version)
        return pb.ModelConfigResponse(config=config_of(self._contract))

    @_or_status
    async def ModelStatistics(self, request: pb.ModelStatisticsRequest, context: Context) -> pb.ModelStatisticsResponse:
        """Return what the model has run; no name means all models."""
        del context
        self._check(request.name or self._contract.bundle.name, request.version)
        return pb.ModelStatisticsResponse(model_stats=[statistics_of(self._batcher.statistics, self._contract)])

    async def RepositoryIndex(self, request: pb.RepositoryIndexRequest, context: Context) -> pb.RepositoryIndexResponse:
        """Return the one model that is served."""
        del request, context
        bundle = self._contract.bundle
        served = pb.RepositoryIndexResponse.ModelIndex(name=bundle.name, version=bundle.version, state="READY")
        return pb.RepositoryIndexResponse(models=[served])

    @_or_status
    async def RepositoryModelLoad(self, request: pb.RepositoryModelLoadRequest, context: Context) -> pb.RepositoryModelLoadResponse:
        """Refuse: what scores patients changes by a promotion, not by a call."""
        del request, context
        raise NotOffered(DISABLED)

    @_or_status
    async def RepositoryModelUnload(self, request: pb.RepositoryModelUnloadRequest, context: Context) -> pb.RepositoryModelUnloadResponse:
        """Refuse, as above."""
        del request, context
        raise NotOffered(DISABLED)

    @_or_status
    async def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        """Return the scores of the request's windows; a row with NaN or infinity comes out as NaN and is named, its neighbours stand."""
        self._check(request.model_name, request.model_version)
        rows = rows_of(request, self._contract)
        try:
            async with asyncio.timeout(patience_s(request, context)):
                answers = await self._batcher.score_all(rows.windows)
        except TimeoutError as fault:
            raise Late("the model had not answered when the caller's time was over; the windows that still waited are not run") from fault
        return response_of(request, rows, answers, self._contract)
