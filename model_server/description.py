"""What the server says of itself, its model and its work, in the messages of the Open Inference Protocol. Pure."""

from importlib.metadata import PackageNotFoundError, version
from typing import Final

from model_server.contract import Contract, Tensor
from model_server.statistics import Span, Statistics
from protos.inference import open_inference_pb2 as pb

PLATFORM: Final = "pytorch_torchscript"
EXTENSIONS: Final = ("model_configuration", "model_repository", "statistics")
ANY_SIZE: Final = -1
MS_PER_S: Final = 1e3


def server_of() -> pb.ServerMetadataResponse:
    """Return what the server says of itself; its version is that of the installed distribution, empty in a bare source tree."""
    try:
        installed = version("sopor")
    except PackageNotFoundError:
        installed = ""
    return pb.ServerMetadataResponse(name="sopor", version=installed, extensions=EXTENSIONS)


def metadata_of(contract: Contract) -> pb.ModelMetadataResponse:
    """Return the model's tensors, with the batch as first dimension."""
    bundle = contract.bundle

    def described(tensor: Tensor) -> pb.ModelMetadataResponse.TensorMetadata:
        return pb.ModelMetadataResponse.TensorMetadata(name=tensor.name, datatype=tensor.kind.name, shape=(ANY_SIZE, *tensor.shape))

    return pb.ModelMetadataResponse(
        name=bundle.name,
        versions=[bundle.version],
        platform=PLATFORM,
        inputs=map(described, contract.inputs),
        outputs=map(described, contract.outputs),
    )


def config_of(contract: Contract) -> pb.ModelConfig:
    """Return the model's configuration; what the protocol has no place for (channels, unit, rate, digest) stands in its parameters."""
    bundle, signals = contract.bundle, contract.bundle.manifest.inputs
    parameters = {
        "digest": bundle.digest,
        "channels": ",".join(signal.signal for signal in signals),
        "unit": signals[0].unit,
        "rate_hz": f"{signals[0].rate_hz:g}",
    }
    return pb.ModelConfig(
        name=bundle.name,
        platform=PLATFORM,
        backend="pytorch",
        max_batch_size=contract.most_rows,
        input=[pb.ModelInput(name=t.name, data_type=t.kind.number, dims=t.shape) for t in contract.inputs],
        output=[pb.ModelOutput(name=t.name, data_type=t.kind.number, dims=t.shape) for t in contract.outputs],
        dynamic_batching=pb.ModelDynamicBatching(),  # no preferred size, no delay: a batch is what queued while the last one ran
        parameters={name: pb.ModelParameter(string_value=value) for name, value in parameters.items()},
    )


def _duration_of(span: Span) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=span.count, ns=span.ns)


def statistics_of(statistics: Statistics, contract: Contract) -> pb.ModelStatistics:
    """Return the figures of the model since the process started, those of the house's own call included."""
    return pb.ModelStatistics(
        name=contract.bundle.name,
        version=contract.bundle.version,
        last_inference=round(statistics.last_at.timestamp() * MS_PER_S) if statistics.last_at else 0,
        inference_count=statistics.computed.count,
        execution_count=sum(batch.count for batch in statistics.batches.values()),
        inference_stats=pb.InferStatistics(
            success=_duration_of(statistics.succeeded),
            fail=_duration_of(statistics.failed),
            queue=_duration_of(statistics.queued),
            compute_infer=_duration_of(statistics.computed),
        ),
        batch_stats=[
            pb.InferBatchStatistics(batch_size=size, compute_infer=_duration_of(span)) for size, span in sorted(statistics.batches.items())
        ],
    )
