"""Load on a model server: callers that wait for each answer, or cases that send once a second whether answered or not."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import grpc
import numpy as np
from numpy.typing import NDArray

from protos.depth.v1 import depth_pb2, depth_pb2_grpc
from protos.inference import open_inference_pb2, open_inference_pb2_grpc

DEADLINE_S = 30.0
WITHIN = 1e-3  # index points: an answer that is further off its golden vector is wrong, and no figure


@dataclass(frozen=True)
class Golden:
    """The bundle's own windows and the depth that the model gives them."""

    name: str
    version: str
    eeg: NDArray[np.float32]
    mask: NDArray[np.uint8]
    depth: NDArray[np.float32]


@dataclass(frozen=True)
class Timings:
    latency_s: list[float]
    elapsed_s: float
    client_cpu_s: float  # of this process: what the load itself took

    @property
    def per_s(self) -> float:
        return len(self.latency_s) / self.elapsed_s

    def percentile_ms(self, percent: float) -> float:
        return float(np.percentile(self.latency_s, percent)) * 1000


Call = Callable[[int], Awaitable[float]]  # row of the golden vectors -> the depth that was answered
Client = Callable[[str, Golden], AbstractAsyncContextManager[Call]]


@asynccontextmanager
async def score(target: str, golden: Golden) -> AsyncIterator[Call]:
    """Yield Sopor's own call."""
    _, channels, samples = golden.eeg.shape
    requests = [
        depth_pb2.ScoreRequest(
            model=f"{golden.name}@{golden.version}",
            channels=channels,
            samples=samples,
            rate_hz=128.0,
            eeg_microvolt=eeg.tobytes(),
            mask=mask.tobytes(),
        )
        for eeg, mask in zip(golden.eeg, golden.mask, strict=True)
    ]
    async with grpc.aio.insecure_channel(target) as channel:
        stub = depth_pb2_grpc.DepthScoringStub(channel)

        async def call(row: int) -> float:
            return (await stub.Score(requests[row], timeout=DEADLINE_S)).score.value

        yield call


def infer_request_of(golden: Golden, row: int) -> open_inference_pb2.ModelInferRequest:
    arrays = {"eeg_microvolt": ("FP32", golden.eeg[row : row + 1]), "mask": ("UINT8", golden.mask[row : row + 1])}
    request = open_inference_pb2.ModelInferRequest(model_name=golden.name)
    for name, (datatype, array) in arrays.items():
        request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    return request


@asynccontextmanager
async def open_inference(target: str, golden: Golden) -> AsyncIterator[Call]:
    """Yield ModelInfer of the Open Inference Protocol, of whichever server."""
    requests = [infer_request_of(golden, row) for row in range(len(golden.eeg))]
    async with grpc.aio.insecure_channel(target) as channel:
        stub = open_inference_pb2_grpc.GRPCInferenceServiceStub(channel)

        async def call(row: int) -> float:
            response = await stub.ModelInfer(requests[row], timeout=DEADLINE_S)
            place = [tensor.name for tensor in response.outputs].index("depth")
            if response.raw_output_contents:
                return float(np.frombuffer(response.raw_output_contents[place], "<f4")[0])
            return response.outputs[place].contents.fp32_contents[0]

        yield call


@asynccontextmanager
async def http_bytes(target: str, golden: Golden) -> AsyncIterator[Call]:
    """Yield POST /inference with raw bytes over kept-alive connections, one for each call under way."""
    host, _, port = target.rpartition(":")
    bodies = [eeg.tobytes() + mask.tobytes() for eeg, mask in zip(golden.eeg, golden.mask, strict=True)]
    head = f"POST /inference HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(bodies[0])}\r\n\r\n".encode()
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def call(row: int) -> float:
        reader, writer = idle.pop() if idle else await asyncio.open_connection(host, int(port))
        writer.write(head + bodies[row])
        answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(int(line.partition(":")[2]) for line in answer.splitlines() if line.startswith("content-length:"))
        content = await reader.readexactly(length)
        if " 200 " not in answer.splitlines()[0]:
            raise RuntimeError(answer.splitlines()[0])
        idle.append((reader, writer))
        return float(np.frombuffer(content, "<f4")[0])

    yield call
    for _, writer in idle:
        writer.close()


async def _timed(call: Call, row: int, golden: Golden, latency_s: list[float]) -> None:
    begun_s = time.perf_counter()
    depth = await call(row)
    latency_s.append(time.perf_counter() - begun_s)
    if not abs(depth - golden.depth[row]) <= WITHIN:
        raise RuntimeError(f"row {row}: depth {depth} where the golden vectors say {golden.depth[row]}")


async def closed(call: Call, golden: Golden, callers: int, seconds: float) -> Timings:
    """Let `callers` ask one window after another for some seconds."""
    latency_s: list[float] = []
    begun_s, cpu_s = time.perf_counter(), time.process_time()

    async def caller(number: int) -> None:
        row = number
        while time.perf_counter() - begun_s < seconds:
            await _timed(call, row % len(golden.eeg), golden, latency_s)
            row += 1

    await asyncio.gather(*(caller(number) for number in range(callers)))
    return Timings(latency_s, time.perf_counter() - begun_s, time.process_time() - cpu_s)


async def paced(call: Call, golden: Golden, cases: int, seconds: float) -> Timings:
    """Send one window a second for each case, the cases spread over the second, whether the last was answered or not."""
    latency_s: list[float] = []
    begun_s, cpu_s = time.perf_counter(), time.process_time()
    calls: list[asyncio.Task[None]] = []
    for number in range(int(cases * seconds)):
        await asyncio.sleep(begun_s + number / cases - time.perf_counter())
        calls.append(asyncio.ensure_future(_timed(call, number % len(golden.eeg), golden, latency_s)))
    await asyncio.gather(*calls)
    return Timings(latency_s, time.perf_counter() - begun_s, time.process_time() - cpu_s)
