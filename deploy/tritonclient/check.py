"""tritonclient against a running model server: check.py TARGET CONTRACT MODELS. Needs tritonclient and numpy, nothing of ours.

CONTRACT is the serialized descriptor of our .proto. Each check prints one line; the first that fails ends the program with its traceback.
"""

import queue
import sys
from importlib.metadata import version
from pathlib import Path

import grpc
import numpy as np
import tritonclient.grpc as triton
from google.protobuf.descriptor import Descriptor, EnumDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from tritonclient.grpc import model_config_pb2, service_pb2
from tritonclient.utils import InferenceServerException

NAME, VERSION = "depth-eeg", "0.1.0"
STARTED_WITHIN_S = 40
YES = True
WITHIN = 1e-3
SPOILT_ROW = 3
ALL_OUTPUTS = ("depth", "low", "high", "state_probability", "out_of_distribution")


class Failed(Exception):
    """A check that did not come out."""


def expect(what: str, got: object, wanted: object = YES) -> None:
    """Print one line, or raise."""
    if got != wanted:
        raise Failed(f"{what}: {got!r} instead of {wanted!r}")
    print(f"ok {what}")  # noqa: T201


def refused(what: str, status: str, call: object) -> None:
    """Expect a gRPC status."""
    try:
        call()  # type: ignore[operator]
    except InferenceServerException as fault:
        expect(f"{what}: {fault.message()}", fault.status(), f"StatusCode.{status}")
        return
    raise Failed(f"{what}: no error")


def theirs(name: str) -> Descriptor | EnumDescriptor:
    """Return the client's own definition of a message or enum."""
    for module in (service_pb2, model_config_pb2):
        for known in (module.DESCRIPTOR.message_types_by_name, module.DESCRIPTOR.enum_types_by_name):
            if name in known:
                return known[name]
    raise Failed(f"{name}: the client knows no such message")


def compare(ours: Descriptor, known: Descriptor) -> int:
    """Compare every field of a message and of those inside it with the client's; return how many."""
    for field in ours.fields:
        twin = known.fields_by_name[field.name]
        for part in ("number", "type", "is_repeated"):
            if getattr(field, part) != getattr(twin, part):
                raise Failed(f"{ours.full_name}.{field.name}: {part} differs from the client's")
        for kind in ("message_type", "enum_type"):
            if getattr(field, kind) and getattr(field, kind).full_name != getattr(twin, kind).full_name:
                raise Failed(f"{ours.full_name}.{field.name}: {kind} differs from the client's")
    return len(ours.fields) + sum(compare(inner, known.nested_types_by_name[inner.name]) for inner in ours.nested_types)


def check_contract(serialized: bytes) -> None:
    """Compare names, numbers and types of our .proto with those of the client."""
    proto, pool = FileDescriptorProto.FromString(serialized), DescriptorPool()
    pool.Add(proto)
    ours, names = pool.FindFileByName(proto.name), [message.name for message in proto.message_type]
    fields = sum(compare(ours.message_types_by_name[name], theirs(name)) for name in names)
    for enum in ours.enum_types_by_name.values():
        expect(f"enum {enum.name}", {v.name: v.number for v in enum.values}, {v.name: v.number for v in theirs(enum.name).values})
    service, twin = ours.services_by_name["GRPCInferenceService"], service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    for method in service.methods:
        pair = twin.methods_by_name[method.name]
        expect(
            f"method {method.name}",
            (method.input_type.full_name, method.output_type.full_name, method.client_streaming, method.server_streaming),
            (pair.input_type.full_name, pair.output_type.full_name, pair.client_streaming, pair.server_streaming),
        )
    expect(f"{fields} fields of {len(names)} messages", service.full_name, twin.full_name)


def inputs_of(eeg: np.ndarray, mask: np.ndarray) -> list[triton.InferInput]:
    """Return the two input tensors."""
    inputs = [triton.InferInput("eeg_microvolt", eeg.shape, "FP32"), triton.InferInput("mask", mask.shape, "UINT8")]
    for tensor, array in zip(inputs, (eeg, mask), strict=True):
        tensor.set_data_from_numpy(array)
    return inputs


def check_description(client: triton.InferenceServerClient) -> None:
    """Ask for all that the server tells of itself."""
    expect("is_server_live", client.is_server_live())
    expect("is_server_ready", client.is_server_ready())
    expect("is_model_ready", client.is_model_ready(NAME, VERSION))
    expect("is_model_ready of another model", client.is_model_ready("another"), not YES)
    expect("get_server_metadata", client.get_server_metadata().name, "sopor")
    metadata = client.get_model_metadata(NAME, as_json=True)
    expect("get_model_metadata", [t["name"] for t in metadata["inputs"]], ["eeg_microvolt", "mask"])
    config = client.get_model_config(NAME, VERSION).config
    expect("get_model_config", (config.max_batch_size, [list(t.dims) for t in config.input]), (32, [[2, 7680], [2, 7680]]))
    index = client.get_model_repository_index().models
    expect("get_model_repository_index", [(m.name, m.version, m.state) for m in index], [(NAME, VERSION, "READY")])


def check_inference(client: triton.InferenceServerClient, eeg: np.ndarray, mask: np.ndarray, golden: dict[str, np.ndarray]) -> None:
    """Score the golden vectors in every way the client has."""
    before = client.get_inference_statistics(NAME).model_stats[0]
    result = client.infer(NAME, inputs_of(eeg, mask), VERSION, request_id="7")
    expect("infer: request id", result.get_response().id, "7")
    for name in ALL_OUTPUTS:
        gap = float(np.abs(result.as_numpy(name).reshape(golden[name].shape) - golden[name]).max())
        expect(f"infer: {name} within {WITHIN:g} of its golden vectors ({gap:.1g})", gap <= WITHIN)
    some = client.infer(
        NAME, inputs_of(eeg[:3], mask[:3]), outputs=[triton.InferRequestedOutput("high"), triton.InferRequestedOutput("depth")]
    )
    expect("infer: requested outputs", [t.name for t in some.get_response().outputs], ["high", "depth"])

    answers: queue.Queue[tuple[object, object]] = queue.Queue()
    client.async_infer(NAME, inputs_of(eeg, mask), lambda result, error: answers.put((result, error)))
    late, error = answers.get(timeout=10)
    expect("async_infer", (error, late.as_numpy("depth").tobytes()), (None, result.as_numpy("depth").tobytes()))

    spoilt = eeg.copy()
    spoilt[SPOILT_ROW] = np.nan
    rows = client.infer(NAME, inputs_of(spoilt, mask)).as_numpy("depth")
    expect("infer: the row of NaN comes out as NaN", bool(np.isnan(rows[SPOILT_ROW]).all()))
    others = np.arange(len(eeg)) != SPOILT_ROW
    expect("infer: its neighbours are bit-identical", rows[others].tobytes(), result.as_numpy("depth")[others].tobytes())
    after = client.get_inference_statistics(NAME).model_stats[0]
    expect("get_inference_statistics", after.inference_count - before.inference_count, 3 * len(eeg) + 3)


def check_refusals(client: triton.InferenceServerClient, eeg: np.ndarray, mask: np.ndarray) -> None:
    """Ask for what cannot be answered."""
    inputs = inputs_of(eeg, mask)
    refused("unknown model", "NOT_FOUND", lambda: client.infer("another", inputs))
    refused("unknown version", "NOT_FOUND", lambda: client.infer(NAME, inputs, "9.9.9"))
    refused("metadata of an unknown model", "NOT_FOUND", lambda: client.get_model_metadata("another"))
    refused("wrong shape", "INVALID_ARGUMENT", lambda: client.infer(NAME, inputs_of(eeg[..., 1:], mask[..., 1:])))
    double = triton.InferInput("eeg_microvolt", eeg.shape, "FP64")
    double.set_data_from_numpy(eeg.astype(np.float64))
    refused("wrong datatype", "INVALID_ARGUMENT", lambda: client.infer(NAME, [double, inputs[1]]))
    refused("unknown output", "INVALID_ARGUMENT", lambda: client.infer(NAME, inputs, outputs=[triton.InferRequestedOutput("bis")]))
    labels = [triton.InferRequestedOutput("state_probability", class_count=2)]
    refused("class labels", "UNIMPLEMENTED", lambda: client.infer(NAME, inputs, outputs=labels))
    refused("server timeout", "DEADLINE_EXCEEDED", lambda: client.infer(NAME, inputs, timeout=1))
    refused("client timeout", "DEADLINE_EXCEEDED", lambda: client.infer(NAME, inputs, client_timeout=1e-4))
    large = inputs_of(np.repeat(eeg, 3, axis=0), np.repeat(mask, 3, axis=0))
    refused("too large a message", "RESOURCE_EXHAUSTED", lambda: client.infer(NAME, large))
    refused("load_model", "UNIMPLEMENTED", lambda: client.load_model(NAME))
    refused("unload_model", "UNIMPLEMENTED", lambda: client.unload_model(NAME))
    refused("shared memory", "UNIMPLEMENTED", client.get_system_shared_memory_status)


def main(target: str, contract: str, models: str) -> None:
    """Run every check."""
    check_contract(Path(contract).read_bytes())
    with np.load(Path(models) / NAME / VERSION / "golden.npz") as archive:
        golden = dict(archive)
    eeg, mask = golden["eeg_counts"].astype(np.float32) * golden["uv_per_count"], golden["mask"]
    with grpc.insecure_channel(target) as channel:
        grpc.channel_ready_future(channel).result(timeout=STARTED_WITHIN_S)
    with triton.InferenceServerClient(target) as client:
        check_description(client)
        check_inference(client, eeg, mask, golden)
        check_refusals(client, eeg, mask)
    print(f"tritonclient {version('tritonclient')}: all well")  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
