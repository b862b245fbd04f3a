"""The Open Inference Protocol on the model server's port: what it tells, what it scores, and how it says no."""

import grpc
import numpy as np
import pytest

from model_server.batcher import LARGEST_BATCH
from protos.depth.v1 import depth_pb2, depth_pb2_grpc
from protos.inference import open_inference_pb2 as pb
from protos.inference import open_inference_pb2_grpc as rpc

NAME, VERSION, SAMPLES = "depth-eeg", "0.1.0", 7680
OUTPUTS = ["depth", "low", "high", "state_probability", "out_of_distribution"]


@pytest.fixture
def stub(model_server):
    with grpc.insecure_channel(model_server) as channel:
        yield rpc.GRPCInferenceServiceStub(channel)


def request_of(eeg, mask, *, raw: bool = True, outputs: tuple[str, ...] = ()) -> pb.ModelInferRequest:
    """Return the request for windows of shape (rows, channels, samples)."""
    request = pb.ModelInferRequest(model_name=NAME, model_version=VERSION, id="42")
    request.inputs.add(name="eeg_microvolt", datatype="FP32", shape=eeg.shape)
    request.inputs.add(name="mask", datatype="UINT8", shape=mask.shape)
    for name in outputs:
        request.outputs.add(name=name)
    if raw:
        request.raw_input_contents.extend([eeg.astype("<f4").tobytes(), mask.astype(np.uint8).tobytes()])
    else:
        request.inputs[0].contents.fp32_contents.extend(eeg.ravel().tolist())
        request.inputs[1].contents.uint_contents.extend(mask.ravel().tolist())
    return request


def golden_request(golden, rows: int, **form) -> pb.ModelInferRequest:
    """Return the request for the first golden windows, again from the first when there are no more."""
    chosen = np.arange(rows) % len(golden["eeg"])
    return request_of(golden["eeg"][chosen], golden["mask"][chosen], **form)


def arrays_of(response: pb.ModelInferResponse) -> dict[str, np.ndarray]:
    """Return the response's outputs by name."""
    contents = response.raw_output_contents or [np.array(t.contents.fp32_contents, "<f4").tobytes() for t in response.outputs]
    return {t.name: np.frombuffer(c, "<f4").reshape(t.shape) for t, c in zip(response.outputs, contents, strict=True)}


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
def test_the_golden_vectors_come_out_in_the_form_of_the_request(stub, golden, bundle, raw):
    response = stub.ModelInfer(golden_request(golden, 16, raw=raw), timeout=5)

    assert [tensor.name for tensor in response.outputs] == OUTPUTS
    assert bool(response.raw_output_contents) == raw
    for name, array in arrays_of(response).items():
        np.testing.assert_allclose(array, golden[name].reshape(array.shape), atol=1e-3)
    assert (response.model_name, response.model_version, response.id) == (NAME, VERSION, "42")
    assert response.parameters["digest"].string_param == bundle.digest
    assert response.parameters["compute_us"].int64_param > 0


def test_a_row_gets_the_same_score_as_over_the_own_call(stub, model_server, golden):
    eeg, mask = golden["eeg"][5], golden["mask"][5]
    own = depth_pb2.ScoreRequest(model=f"{NAME}@{VERSION}", channels=2, samples=SAMPLES, rate_hz=128)
    own.eeg_microvolt, own.mask = eeg.astype("<f4").tobytes(), mask.tobytes()

    with grpc.insecure_channel(model_server) as channel:
        score = depth_pb2_grpc.DepthScoringStub(channel).Score(own, timeout=5).score
    arrays = arrays_of(stub.ModelInfer(request_of(eeg[None], mask[None]), timeout=5))

    assert [score.value, score.low, score.high, score.out_of_distribution] == [
        arrays[name].item() for name in ("depth", "low", "high", "out_of_distribution")
    ]
    assert list(score.state_probability) == arrays["state_probability"][0].tolist()


def test_only_the_outputs_that_were_asked_for_come_in_their_order(stub, golden):
    response = stub.ModelInfer(golden_request(golden, 2, outputs=("state_probability", "depth")), timeout=5)

    assert [(tensor.name, list(tensor.shape)) for tensor in response.outputs] == [("state_probability", [2, 4]), ("depth", [2, 1])]
    assert len(response.raw_output_contents) == 2


@pytest.mark.parametrize("poison", [np.nan, np.inf, 1e32], ids=str)  # the last is beyond the model, not beyond the check
def test_a_row_that_is_not_finite_leaves_its_neighbours_bit_identical(stub, golden, poison):
    eeg, mask = golden["eeg"][:8].copy(), golden["mask"][:8]
    clean = arrays_of(stub.ModelInfer(request_of(eeg, mask), timeout=5))
    eeg[3] = np.where(eeg[3] > 0, poison, -poison)
    batches = {row.batch_size: row.compute_infer.count for row in statistics(stub).batch_stats}

    response = stub.ModelInfer(request_of(eeg, mask), timeout=5)

    after = {row.batch_size: row.compute_infer.count for row in statistics(stub).batch_stats}
    assert after == batches | {8: batches[8] + 1}
    assert response.parameters["not_finite_rows"].string_param == "3"
    for name, array in arrays_of(response).items():
        assert np.isnan(array[3]).all()
        others = np.arange(8) != 3
        assert array[others].tobytes() == clean[name][others].tobytes()


def reshaped(request: pb.ModelInferRequest, place: int, *shape: int) -> None:
    """Declare another shape than that of the contents."""
    del request.inputs[place].shape[:]
    request.inputs[place].shape.extend(shape)


def refilled(request: pb.ModelInferRequest, place: int, content: bytes) -> None:
    """Send other contents."""
    request.raw_input_contents[place] = content


def one_mask(request: pb.ModelInferRequest) -> None:
    """Send the mask of the first row only."""
    reshaped(request, 1, 1, 2, SAMPLES)
    refilled(request, 1, request.raw_input_contents[1][: 2 * SAMPLES])


def parameter(owner, name: str, number: int) -> None:
    """Give a request or tensor a parameter."""
    owner.parameters[name].int64_param = number


NO = {
    "NOT_FOUND": {
        "another model": (lambda r: setattr(r, "model_name", "depth"), "depth-eeg in version 0.1.0"),
        "another version": (lambda r: setattr(r, "model_version", "0.1.1"), "depth-eeg in version 0.1.0"),
    },
    "INVALID_ARGUMENT": {
        "fewer samples": (lambda r: reshaped(r, 0, 2, 2, 7679), "inputs[0]: shape: [2, 2, 7679] where the model reads [-1, 2, 7680]"),
        "no batch dimension": (lambda r: reshaped(r, 0, 2, 7680), "inputs[0]: shape: [2, 7680] where the model reads [-1, 2, 7680]"),
        "no rows": (lambda r: reshaped(r, 0, 0, 2, 7680), "a batch of 0, where 1 to 32"),
        "too many rows": (lambda r: reshaped(r, 0, 33, 2, 7680), "a batch of 33, where 1 to 32"),
        "another datatype": (lambda r: setattr(r.inputs[0], "datatype", "FP64"), "inputs[0]: datatype: the model reads FP32"),
        "unknown input": (lambda r: setattr(r.inputs[1], "name", "quality"), "eeg_microvolt, mask"),
        "an input twice": (lambda r: setattr(r.inputs[1], "name", "eeg_microvolt"), "eeg_microvolt, mask"),
        "no inputs": (lambda r: r.ClearField("inputs"), "eeg_microvolt, mask"),
        "short contents": (lambda r: refilled(r, 0, r.raw_input_contents[0][4:]), "122876 bytes instead of 122880"),
        "one content": (lambda r: r.raw_input_contents.pop(), "raw_input_contents: 1"),
        "no contents": (lambda r: r.ClearField("raw_input_contents"), "fp32_contents: 0 elements instead of 30720"),
        "both contents": (lambda r: r.inputs[0].contents.fp32_contents.append(1), "inputs[0]: has contents"),
        "a mask of twos": (lambda r: refilled(r, 1, b"\2" * 4 * SAMPLES), "mask: holds values other than 0 and 1"),
        "fewer masks": (one_mask, "2 windows of EEG and 1 masks"),
        "unknown output": (lambda r: r.outputs.add(name="bis"), "depth, low, high"),
        "an output twice": (lambda r: r.outputs.extend([r.InferRequestedOutputTensor(name="depth")] * 2), "each once"),
    },
    "UNIMPLEMENTED": {
        "shared memory": (lambda r: parameter(r.inputs[0], "shared_memory_region", 1), "shared_memory_region"),
        "class labels": (lambda r: parameter(r.outputs.add(name="depth"), "classification", 2), "classification"),
    },
    "DEADLINE_EXCEEDED": {"a microsecond": (lambda r: parameter(r, "timeout", 1), "the caller's time was over")},
}
CASES = [pytest.param(status, *case, id=name) for status, cases in NO.items() for name, case in cases.items()]


@pytest.mark.parametrize(("status", "change", "text"), CASES)
def test_a_request_that_cannot_be_answered_ends_with_its_status_and_says_why(stub, golden, status, change, text):
    request = golden_request(golden, 2)
    change(request)

    with pytest.raises(grpc.RpcError) as fault:
        stub.ModelInfer(request, timeout=5)

    assert fault.value.code().name == status
    assert text in fault.value.details()


def test_a_typed_mask_beyond_its_datatype_is_refused_not_wrapped(stub, golden):
    request = golden_request(golden, 1, raw=False)
    request.inputs[1].contents.uint_contents[0] = 257

    with pytest.raises(grpc.RpcError) as fault:
        stub.ModelInfer(request, timeout=5)

    assert fault.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_full_request_is_answered_and_a_larger_message_is_not_read(stub, golden):
    full = stub.ModelInfer(golden_request(golden, LARGEST_BATCH), timeout=5)
    with pytest.raises(grpc.RpcError) as fault:
        stub.ModelInfer(golden_request(golden, LARGEST_BATCH + 1), timeout=5)

    assert arrays_of(full)["depth"].shape == (LARGEST_BATCH, 1)
    assert fault.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in fault.value.details()


def test_server_and_model_tell_what_they_are(stub, bundle):
    server = stub.ServerMetadata(pb.ServerMetadataRequest(), timeout=5)
    model = stub.ModelMetadata(pb.ModelMetadataRequest(name=NAME), timeout=5)
    config = stub.ModelConfig(pb.ModelConfigRequest(name=NAME, version=VERSION), timeout=5).config
    index = stub.RepositoryIndex(pb.RepositoryIndexRequest(), timeout=5).models

    assert stub.ServerLive(pb.ServerLiveRequest(), timeout=5).live
    assert stub.ServerReady(pb.ServerReadyRequest(), timeout=5).ready
    assert server.name == "sopor"
    assert [(t.name, t.datatype, list(t.shape)) for t in model.inputs] == [
        ("eeg_microvolt", "FP32", [-1, 2, SAMPLES]),
        ("mask", "UINT8", [-1, 2, SAMPLES]),
    ]
    assert [(t.name, list(t.shape)) for t in model.outputs] == [(name, [-1, 4 if name == "state_probability" else 1]) for name in OUTPUTS]
    assert (model.name, list(model.versions)) == (NAME, [VERSION])
    assert (config.max_batch_size, config.WhichOneof("scheduling_choice")) == (LARGEST_BATCH, "dynamic_batching")
    assert [list(t.dims) for t in config.input] == [[2, SAMPLES]] * 2
    assert {name: value.string_value for name, value in config.parameters.items()} == {
        "digest": bundle.digest,
        "channels": "eeg_1,eeg_2",
        "unit": "uV",
        "rate_hz": "128",
    }
    assert [(m.name, m.version, m.state) for m in index] == [(NAME, VERSION, "READY")]


@pytest.mark.parametrize(("name", "version", "ready"), [(NAME, VERSION, True), (NAME, "", True), (NAME, "1", False), ("", "", False)])
def test_only_the_model_that_is_served_is_ready_and_described(stub, name, version, ready):
    assert stub.ModelReady(pb.ModelReadyRequest(name=name, version=version), timeout=5).ready == ready
    for call, request in ((stub.ModelMetadata, pb.ModelMetadataRequest), (stub.ModelConfig, pb.ModelConfigRequest)):
        if ready:
            call(request(name=name, version=version), timeout=5)
            continue
        with pytest.raises(grpc.RpcError) as fault:
            call(request(name=name, version=version), timeout=5)
        assert fault.value.code() is grpc.StatusCode.NOT_FOUND


def statistics(stub) -> pb.ModelStatistics:
    """Return the figures of the one model."""
    (figures,) = stub.ModelStatistics(pb.ModelStatisticsRequest(), timeout=5).model_stats
    return figures


def test_statistics_count_requests_windows_and_batches(stub, golden):
    before = statistics(stub)

    stub.ModelInfer(golden_request(golden, 5), timeout=5)
    late = golden_request(golden, 1)
    late.parameters["timeout"].int64_param = 1
    with pytest.raises(grpc.RpcError):
        stub.ModelInfer(late, timeout=5)
    stub.ModelInfer(golden_request(golden, 7), timeout=5)
    after = statistics(stub)

    assert after.inference_stats.success.count - before.inference_stats.success.count == 2
    assert after.inference_stats.fail.count - before.inference_stats.fail.count == 1
    assert after.inference_count - before.inference_count in {12, 13}  # the late window may have been in the model already
    assert after.execution_count - before.execution_count in {2, 3}
    assert after.inference_stats.compute_infer.ns > before.inference_stats.compute_infer.ns
    assert after.last_inference > before.last_inference
    assert {5, 7} <= {row.batch_size for row in after.batch_stats}


@pytest.mark.parametrize("verb", ["Load", "Unload"])
def test_a_model_is_neither_loaded_nor_unloaded_by_a_call(stub, verb):
    request = getattr(pb, f"RepositoryModel{verb}Request")(model_name=NAME)

    with pytest.raises(grpc.RpcError) as fault:
        getattr(stub, f"RepositoryModel{verb}")(request, timeout=5)

    assert fault.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert fault.value.details().startswith("disabled: bundles are promoted, not loaded")
    assert stub.ModelReady(pb.ModelReadyRequest(name=NAME), timeout=5).ready
