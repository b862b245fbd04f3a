"""What a bundle reads and answers, in the words of the Open Inference Protocol. Pure."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import DTypeLike

from backbone.bundle import Bundle
from protos.inference import open_inference_pb2 as pb


@dataclass(frozen=True, slots=True)
class Kind:
    """A datatype of the protocol: its elements when they are raw, else the field that holds them and what that field's elements are."""

    name: str
    wire: DTypeLike
    contents: str
    element: DTypeLike
    number: pb.DataType.ValueType


FP32: Final = Kind("FP32", np.dtype("<f4"), "fp32_contents", np.float32, pb.TYPE_FP32)
UINT8: Final = Kind("UINT8", np.dtype(np.uint8), "uint_contents", np.uint32, pb.TYPE_UINT8)


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output; `shape` leaves out the batch, a single number is [1]."""

    name: str
    kind: Kind
    shape: tuple[int, ...]

    @property
    def bytes_a_row(self) -> int:
        """The size of one row's raw contents."""
        return int(np.prod(self.shape)) * np.dtype(self.kind.wire).itemsize


@dataclass(frozen=True, slots=True)
class Contract:
    """The one model of a server: `eeg_microvolt` and `mask` in, the manifest's outputs out, at most `most_rows` windows a request."""

    bundle: Bundle
    most_rows: int

    @property
    def inputs(self) -> tuple[Tensor, Tensor]:
        """The EEG in microvolt (0 where masked) and the mask (1 where the sample is real), both channels x samples."""
        signals = self.bundle.manifest.inputs
        shape = (len(signals), signals[0].samples)
        return Tensor("eeg_microvolt", FP32, shape), Tensor("mask", UINT8, shape)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """The manifest's outputs, in its order."""
        return tuple(Tensor(output.name, FP32, tuple(output.shape or (1,))) for output in self.bundle.manifest.outputs)

    @property
    def largest_request(self) -> int:
        """The bytes of a full request's tensors."""
        return self.most_rows * sum(tensor.bytes_a_row for tensor in self.inputs)

    def names(self, name: str, version: str) -> bool:
        """Tell whether a request means this model; without a version it means the one that is served."""
        return name == self.bundle.name and version in {"", self.bundle.version}
