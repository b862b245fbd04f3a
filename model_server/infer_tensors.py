"""From a ModelInferRequest to windows, and from scores to its response. What does not fit raises here and never reaches the model.

InferFault
├── BadTensors     the request's tensors are not those that ModelMetadata describes
└── NotOffered     shared memory, class labels: parts of the protocol that this server leaves out
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anesthesia.errors import SoporError
from model_server.batcher import Answer
from model_server.contract import Contract, Tensor
from model_server.runner import Scored
from model_server.tensors import NotFinite, Window
from protos.inference import open_inference_pb2 as pb

Array = NDArray[Any]
LEFT_OUT: Final = frozenset({"shared_memory_region", "classification"})


class InferFault(SoporError):
    """A request that cannot be answered; the text says which part and what was expected there."""


class BadTensors(InferFault):
    """A tensor that is missing, unknown, or of another datatype, shape or size than the model's."""


class NotOffered(InferFault):
    """A part of the protocol that this server does not have."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The windows of one request. One with NaN or infinity is blank (all masked): its neighbours meet a batch of the same size."""

    windows: Sequence[Window]
    refused: Mapping[int, NotFinite]  # by row


def _count(tensor: pb.ModelInferRequest.InferInputTensor, where: str, known: Tensor, most_rows: int) -> int:
    """Return the number of rows; raise BadTensors for another datatype or shape than the model's."""
    if tensor.datatype != known.kind.name:
        raise BadTensors(f"{where}: datatype: the model reads {known.kind.name}")
    if tuple(tensor.shape[1:]) != known.shape:
        raise BadTensors(f"{where}: shape: {list(tensor.shape)} where the model reads {[-1, *known.shape]}")
    if not 1 <= tensor.shape[0] <= most_rows:
        raise BadTensors(f"{where}: shape: a batch of {tensor.shape[0]}, where 1 to {most_rows} are read")
    return tensor.shape[0]


def _raw(content: bytes, where: str, known: Tensor, rows: int) -> Array:
    if len(content) != rows * known.bytes_a_row:
        raise BadTensors(f"{where}: raw contents: {len(content)} bytes instead of {rows * known.bytes_a_row}")
    return np.frombuffer(content, known.kind.wire).reshape(rows, *known.shape)


def _typed(contents: pb.InferTensorContents, where: str, known: Tensor, rows: int) -> Array:
    elements, expected = getattr(contents, known.kind.contents), rows * int(np.prod(known.shape))
    if len(elements) != expected:
        raise BadTensors(f"{where}: {known.kind.contents}: {len(elements)} elements instead of {expected}")
    # An element too large for its datatype keeps its value here, so that it is refused and not wrapped.
    return np.array(elements, known.kind.element).reshape(rows, *known.shape)


def _check_offered(request: pb.ModelInferRequest) -> None:
    parameters = [*(tensor.parameters for tensor in request.inputs), *(tensor.parameters for tensor in request.outputs)]
    asked = LEFT_OUT.intersection(chain.from_iterable(parameters))
    if asked:
        raise NotOffered(f"{', '.join(sorted(asked))}: not offered here; send and take the tensors themselves")


def _arrays(request: pb.ModelInferRequest, contract: Contract) -> dict[str, Array]:
    """Return the inputs by name; each of the model's stands in the request once."""
    known, raw = {tensor.name: tensor for tensor in contract.inputs}, request.raw_input_contents
    if sorted(tensor.name for tensor in request.inputs) != sorted(known):
        raise BadTensors(f"inputs: the model reads each of {', '.join(known)} once, and nothing else")
    if raw and len(raw) != len(request.inputs):
        raise BadTensors(f"raw_input_contents: {len(raw)} where each of {len(request.inputs)} inputs has one")
    arrays: dict[str, Array] = {}
    for place, tensor in enumerate(request.inputs):
        where, meant = f"inputs[{place}]", known[tensor.name]
        rows = _count(tensor, where, meant, contract.most_rows)
        if raw and tensor.HasField("contents"):
            raise BadTensors(f"{where}: has contents beside its raw contents")
        arrays[tensor.name] = _raw(raw[place], where, meant, rows) if raw else _typed(tensor.contents, where, meant, rows)
    return arrays


def rows_of(request: pb.ModelInferRequest, contract: Contract) -> Rows:
    """Return the request's windows; raise an InferFault naming the part that is wrong."""
    _check_offered(request)
    wanted_of(request, contract)
    arrays = _arrays(request, contract)
    eeg, mask = (arrays[tensor.name] for tensor in contract.inputs)
    if len(eeg) != len(mask):
        raise BadTensors(f"inputs: {len(eeg)} windows of EEG and {len(mask)} masks")
    if mask.max(initial=0) > 1:
        raise BadTensors("mask: holds values other than 0 and 1")
    finite = [bool(np.isfinite(window).all()) for window in eeg]
    blank = Window(np.zeros(eeg.shape[1:], np.float32), np.zeros(eeg.shape[1:], np.float32))
    windows = [
        Window(eeg[row].astype(np.float32, copy=False), mask[row].astype(np.float32)) if finite[row] else blank for row in range(len(eeg))
    ]
    return Rows(windows, {row: NotFinite("eeg_microvolt: holds NaN or infinity") for row, fine in enumerate(finite) if not fine})


def wanted_of(request: pb.ModelInferRequest, contract: Contract) -> list[Tensor]:
    """Return the outputs that the caller asks for, in its order, or all; raise BadTensors for one that is unknown or named twice."""
    known = {tensor.name: tensor for tensor in contract.outputs}
    names = [tensor.name for tensor in request.outputs] or list(known)
    if len(set(names)) < len(names) or not set(names) <= set(known):
        raise BadTensors(f"outputs: the model answers {', '.join(known)}, each once")
    return [known[name] for name in names]


def columns_of(results: Sequence[Scored | NotFinite], contract: Contract) -> dict[str, Array]:
    """Return the outputs by name, one row a window; a row that has no score is NaN."""
    columns = {tensor.name: np.full((len(results), *tensor.shape), np.nan, tensor.kind.wire) for tensor in contract.outputs}
    for row, result in enumerate(results):
        if isinstance(result, Scored):
            # Scored has its fields in the order of the manifest's outputs.
            for column, part in zip(columns.values(), fields(Scored), strict=True):
                column[row] = getattr(result, part.name)
    return columns


def response_of(request: pb.ModelInferRequest, rows: Rows, answers: Sequence[Answer], contract: Contract) -> pb.ModelInferResponse:
    """Return the response, tensors raw or typed as in the request; parameters name the bundle, the times and the rows without score."""
    results = [rows.refused.get(row, answer.result) for row, answer in enumerate(answers)]
    columns = columns_of(results, contract)
    response = pb.ModelInferResponse(model_name=contract.bundle.name, model_version=contract.bundle.version, id=request.id)
    for tensor in wanted_of(request, contract):
        column = columns[tensor.name]
        output = response.outputs.add(name=tensor.name, datatype=tensor.kind.name, shape=column.shape)
        if request.raw_input_contents:
            response.raw_output_contents.append(column.tobytes())
        else:
            output.contents.fp32_contents.extend(column.ravel().tolist())
    response.parameters["digest"].string_param = contract.bundle.digest
    response.parameters["queue_us"].int64_param = max(answer.queue_us for answer in answers)
    response.parameters["compute_us"].int64_param = max(answer.compute_us for answer in answers)
    if lost := [str(row) for row, result in enumerate(results) if isinstance(result, NotFinite)]:
        response.parameters["not_finite_rows"].string_param = ",".join(lost)
    return response
