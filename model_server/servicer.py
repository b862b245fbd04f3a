"""The scoring call: a request in, a Score or a Problem out. Faults of one window are answers, not gRPC errors."""

import grpc

from backbone.bundle import Bundle
from backbone.telemetry import counter
from model_server.batcher import Answer, Batcher, Overloaded
from model_server.runner import Scored
from model_server.tensors import BadWindow, NotFinite, window_of
from protos.depth.v1 import depth_pb2 as pb
from protos.depth.v1 import depth_pb2_grpc as rpc

PROBLEMS = counter("model_problems", "Windows answered by a problem", "code")


def problem(code: str, text: str) -> pb.ScoreResponse:
    """Return the answer to a window that has no score."""
    PROBLEMS.labels(code).inc()
    return pb.ScoreResponse(problem=pb.Problem(code=code, text=text))


def score_of(scored: Scored, answer: Answer, bundle: Bundle) -> pb.ScoreResponse:
    """Return the answer to a scored window."""
    return pb.ScoreResponse(
        score=pb.Score(
            value=scored.value,
            low=scored.low,
            high=scored.high,
            state_probability=scored.state_probability,
            out_of_distribution=scored.out_of_distribution,
            model=pb.ModelUsed(name=bundle.reference, digest=bundle.digest),
            queue_us=answer.queue_us,
            compute_us=answer.compute_us,
        )
    )


class DepthScoring(rpc.DepthScoringServicer):
    """Scores windows with one bundle."""

    def __init__(self, bundle: Bundle, batcher: Batcher) -> None:
        """Answer for `bundle` by way of `batcher`."""
        self._bundle, self._batcher = bundle, batcher

    async def Score(  # noqa: N802  gRPC's own name
        self,
        request: pb.ScoreRequest,
        context: grpc.aio.ServicerContext[pb.ScoreRequest, pb.ScoreResponse],
    ) -> pb.ScoreResponse:
        """Return the score of one window, or the Problem unknown_model, bad_window or not_finite."""
        if request.model != self._bundle.reference:
            return problem("unknown_model", f"this server holds {self._bundle.reference}")
        try:
            answer = await self._batcher.score(window_of(request, self._bundle.manifest))
        except BadWindow as fault:
            return problem("bad_window", str(fault))
        except NotFinite as fault:
            return problem("not_finite", str(fault))
        except Overloaded as fault:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(fault))
        if isinstance(answer.result, NotFinite):
            return problem("not_finite", str(answer.result))
        return score_of(answer.result, answer, self._bundle)
