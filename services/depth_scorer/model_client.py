"""The model server as the scorer sees it: one unary call with a deadline, answered by a score or by a reason for refusal."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import numpy as np

from anesthesia.prediction import ModelUsed, RefusalReason
from anesthesia.signal import EEG_CHANNELS
from anesthesia.window import EEG_RATE_HZ, Window
from backbone.telemetry import counter, logger
from protos.depth.v1 import depth_pb2 as pb
from protos.depth.v1 import depth_pb2_grpc as rpc
from services.depth_scorer.verdict import Scored

FAILURES = counter("model_failures", "Calls to the model server without a score", "code")

_CHANNEL_OPTIONS = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


def request_of(window: Window, model: str) -> pb.ScoreRequest:
    """Return the scoring call of a window."""
    eeg, mask = window.model_eeg, window.model_mask
    return pb.ScoreRequest(
        model=model,
        case_id=window.case_id.bytes,
        second=window.second,
        channels=len(EEG_CHANNELS),
        samples=eeg.shape[1],
        rate_hz=EEG_RATE_HZ,
        eeg_microvolt=np.ascontiguousarray(eeg, "<f4").tobytes(),
        mask=np.ascontiguousarray(mask, np.uint8).tobytes(),
        input_hash=window.input_hash,
    )


class ModelClient:
    """Asks one model (`name@version`) for scores."""

    def __init__(self, channel: grpc.aio.Channel, model: str, deadline_s: float) -> None:
        """Use a channel; every call ends after `deadline_s`."""
        self._stub = rpc.DepthScoringStub(channel)
        self._model = model
        self._deadline_s = deadline_s

    async def score(self, window: Window) -> Scored | RefusalReason:
        """Return the model's score, or why there is none: `model_late` past the deadline, else `model_unavailable`."""
        try:
            response = await self._stub.Score(request_of(window, self._model), timeout=self._deadline_s)
        except grpc.aio.AioRpcError as fault:
            FAILURES.labels(fault.code().name).inc()
            late = fault.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            return RefusalReason.MODEL_LATE if late else RefusalReason.MODEL_UNAVAILABLE
        if response.WhichOneof("result") != "score":
            FAILURES.labels(response.problem.code or "empty").inc()
            logger().error("model_refused_a_window", code=response.problem.code)
            return RefusalReason.MODEL_UNAVAILABLE
        score = response.score
        model = ModelUsed(score.model.name, score.model.digest)
        return Scored(score.value, score.low, score.high, score.out_of_distribution, model)


@asynccontextmanager
async def connect(target: str, model: str, deadline_s: float) -> AsyncIterator[ModelClient]:
    """Yield a client of the model server at a gRPC target (`host:port`, `unix:/path`)."""
    async with grpc.aio.insecure_channel(target, options=_CHANNEL_OPTIONS) as channel:
        yield ModelClient(channel, model, deadline_s)
