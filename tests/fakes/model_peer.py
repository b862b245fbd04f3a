"""A scripted model server: a real gRPC server that says what a test tells it to say."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc

from protos.depth.v1 import depth_pb2 as pb
from protos.depth.v1 import depth_pb2_grpc as rpc


@dataclass
class ModelPeer(rpc.DepthScoringServicer):
    """Answers every call with `value`, after `delay_s`; keeps the requests."""

    value: float = 47.0
    distance: float = 0.5
    delay_s: float = 0.0
    problem: str = ""
    requests: list[pb.ScoreRequest] = field(default_factory=list)

    async def Score(self, request, context):  # noqa: N802  gRPC's own name
        self.requests.append(request)
        await asyncio.sleep(self.delay_s)
        if self.problem:
            return pb.ScoreResponse(problem=pb.Problem(code=self.problem, text="scripted"))
        model = pb.ModelUsed(name=request.model, digest="scripted")
        score = pb.Score(value=self.value, low=self.value - 5, high=self.value + 5, out_of_distribution=self.distance, model=model)
        return pb.ScoreResponse(score=score)


@asynccontextmanager
async def serving(peer: ModelPeer, target: str) -> AsyncIterator[None]:
    """Serve the peer at a target while the block runs."""
    server = grpc.aio.server()
    rpc.add_DepthScoringServicer_to_server(peer, server)
    server.add_insecure_port(target)
    await server.start()
    try:
        yield
    finally:
        await server.stop(0)
