"""The model server as a process: real gRPC, real bundle, real signals."""

import asyncio
import shutil
import signal
from io import BytesIO

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from backbone import bundle as bundles
from backbone.clock import SystemClock
from model_server.batcher import LARGEST_BATCH, Batcher, Overloaded
from model_server.runner import GoldenMismatch, Runner, Scored
from model_server.tensors import NotFinite, Window
from protos.depth.v1 import depth_pb2 as pb
from protos.depth.v1 import depth_pb2_grpc as rpc
from tests.model_server import MODELS, REFERENCE, started

SERVICES = ("", "depth.v1.DepthScoring", "inference.GRPCInferenceService")


@pytest.fixture
def call(model_server):
    with grpc.insecure_channel(model_server) as channel:
        stub = rpc.DepthScoringStub(channel)
        yield lambda request: stub.Score(request, timeout=5)


def request_of(golden, row: int, **changes: object) -> pb.ScoreRequest:
    request = pb.ScoreRequest(
        model=REFERENCE,
        channels=2,
        samples=7680,
        rate_hz=128,
        eeg_microvolt=golden["eeg"][row].astype("<f4").tobytes(),
        mask=golden["mask"][row].tobytes(),
    )
    for field, value in changes.items():
        setattr(request, field, value)
    return request


def test_the_golden_vectors_come_out_over_the_wire(call, golden, bundle):
    for row in range(len(golden["eeg"])):
        score = call(request_of(golden, row)).score

        assert score.value == pytest.approx(golden["depth"][row], abs=1e-3)
        assert (score.low, score.high) == pytest.approx((golden["low"][row], golden["high"][row]), abs=1e-3)
        assert list(score.state_probability) == pytest.approx(golden["state_probability"][row], abs=1e-3)
        assert score.out_of_distribution == pytest.approx(golden["out_of_distribution"][row], abs=1e-3)
        assert (score.model.name, score.model.digest) == (REFERENCE, bundle.digest)
        assert score.compute_us > 0


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"model": "depth-eeg@latest"}, "unknown_model"),
        ({"model": ""}, "unknown_model"),
        ({"channels": 1}, "bad_window"),
        ({"samples": 7679}, "bad_window"),
        ({"rate_hz": 125.0}, "bad_window"),
        ({"rate_hz": float("nan")}, "bad_window"),
        ({"eeg_microvolt": b"\0" * 5}, "bad_window"),
        ({"mask": b""}, "bad_window"),
        ({"mask": b"\2" * 2 * 7680}, "bad_window"),
        ({"eeg_microvolt": np.full(2 * 7680, np.nan, "<f4").tobytes()}, "not_finite"),
        ({"eeg_microvolt": np.full(2 * 7680, np.inf, "<f4").tobytes()}, "not_finite"),
    ],
)
def test_a_window_that_cannot_be_scored_is_answered_by_its_reason(call, golden, change, code):
    answer = call(request_of(golden, 0, **change))

    assert answer.problem.code == code
    assert answer.problem.text


def test_a_window_beyond_float32_is_not_finite_and_its_neighbours_are_scored(model_server, golden):
    absurd = golden["eeg"][0] * np.float32(1e30)

    async def together() -> list[pb.ScoreResponse]:
        async with grpc.aio.insecure_channel(model_server) as channel:
            stub = rpc.DepthScoringStub(channel)
            requests = [request_of(golden, row % 16) for row in range(40)]
            requests[7] = request_of(golden, 0, eeg_microvolt=absurd.astype("<f4").tobytes())
            return list(await asyncio.gather(*(stub.Score(request, timeout=10) for request in requests)))

    answers = asyncio.run(together())

    assert answers[7].problem.code == "not_finite"
    for row in (row for row in range(40) if row != 7):
        assert answers[row].score.value == pytest.approx(golden["depth"][row % 16], abs=1e-3)


def test_health_speaks_for_the_service_by_name(model_server):
    with grpc.insecure_channel(model_server) as channel:
        stub = health_pb2_grpc.HealthStub(channel)

        states = [stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5).status for name in SERVICES]

    assert states == [health_pb2.HealthCheckResponse.SERVING] * 3


def test_a_changed_model_is_never_opened(tmp_path):
    shutil.copytree(MODELS, tmp_path / "models")
    with (tmp_path / "models" / "depth-eeg" / "0.1.0" / "model.ts").open("ab") as model:
        model.write(b"x")

    process = started(tmp_path, listen=f"unix:{tmp_path}/grpc", models_folder=str(tmp_path / "models"))

    assert process.wait(10) == 7
    assert "model.ts" in (tmp_path / "log").read_text()


def test_a_setting_that_names_no_version_ends_the_process(tmp_path):
    process = started(tmp_path, listen=f"unix:{tmp_path}/grpc", model="depth-eeg@latest")

    assert process.wait(10) == 3


def test_other_golden_answers_stop_the_runner(bundle, golden):
    buffer = BytesIO()
    np.savez_compressed(buffer, **{name: golden[name] for name in golden if name not in {"eeg", "depth"}}, depth=golden["depth"] + 0.01)
    wrong = bundles.Bundle(bundle.manifest, {**bundle.files, "golden.npz": buffer.getvalue()}, bundle.digest)

    with pytest.raises(GoldenMismatch, match="depth"):
        Runner(wrong)


def test_a_call_in_progress_is_answered_before_the_server_stops(tmp_path, golden):
    process = started(tmp_path, listen=f"unix:{tmp_path}/grpc")

    async def during_the_stop() -> list[pb.ScoreResponse]:
        async with grpc.aio.insecure_channel(f"unix:{tmp_path}/grpc") as channel:
            stub = rpc.DepthScoringStub(channel)
            await stub.Score(request_of(golden, 0), timeout=10)
            calls = [asyncio.ensure_future(stub.Score(request_of(golden, row % 16), timeout=10)) for row in range(64)]
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            process.send_signal(signal.SIGTERM)
            return [call.result() for call in (await asyncio.wait(calls))[0] if call.exception() is None]

    answers = asyncio.run(during_the_stop())

    assert answers
    assert all(answer.HasField("score") for answer in answers)
    assert process.wait(10) == 0


WINDOW = Window(np.zeros((2, 8), np.float32), np.ones((2, 8), np.float32))


async def test_what_queued_while_a_batch_ran_runs_together():
    sizes, release = [], asyncio.Event()
    loop = asyncio.get_running_loop()

    def run(windows: list[Window]) -> list[Scored | NotFinite]:
        sizes.append(len(windows))
        if len(sizes) == 1:
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result(5)
        return [Scored(50, 40, 60, (0, 0, 1, 0), 0.1)] * len(windows)

    batcher = Batcher(run, SystemClock(), most_waiting=100)
    work = asyncio.ensure_future(batcher.work())
    first = asyncio.ensure_future(batcher.score(WINDOW))
    await asyncio.sleep(0.05)
    others = [asyncio.ensure_future(batcher.score(WINDOW)) for _ in range(LARGEST_BATCH + 3)]
    await asyncio.sleep(0.05)
    release.set()
    await asyncio.gather(first, *others)
    work.cancel()

    assert sizes == [1, LARGEST_BATCH, 3]


async def test_a_full_queue_turns_away_and_an_abandoned_call_is_not_run():
    ran = []
    batcher = Batcher(lambda windows: ran.append(len(windows)) or [NotFinite("scripted")] * len(windows), SystemClock(), most_waiting=2)

    kept, abandoned = (asyncio.ensure_future(batcher.score(WINDOW)) for _ in range(2))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await batcher.score(WINDOW)
    abandoned.cancel()
    await asyncio.sleep(0)
    work = asyncio.ensure_future(batcher.work())
    answer = await kept
    work.cancel()

    assert ran == [1]
    assert isinstance(answer.result, NotFinite)


async def test_a_request_of_several_windows_is_queued_whole_or_not_at_all():
    ran = []
    batcher = Batcher(lambda windows: ran.append(len(windows)) or [NotFinite("scripted")] * len(windows), SystemClock(), most_waiting=4)

    first = asyncio.ensure_future(batcher.score_all([WINDOW] * 3))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await batcher.score_all([WINDOW] * 2)
    work = asyncio.ensure_future(batcher.work())
    answers = await first
    work.cancel()

    assert (ran, len(answers)) == ([3], 3)
    assert (batcher.statistics.succeeded.count, batcher.statistics.failed.count) == (1, 1)
