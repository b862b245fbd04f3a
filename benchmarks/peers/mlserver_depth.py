"""The depth model as an MLServer runtime: the same TorchScript file, one torch thread. Its environment has MLServer and torch."""

import torch
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Depth(MLModel):
    async def load(self) -> bool:
        torch.set_num_threads(1)
        self._module = torch.jit.freeze(torch.jit.load(self._settings.parameters.uri, map_location="cpu").eval())
        self._names = self._settings.parameters.extra["outputs"]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        arrays = {tensor.name: NumpyCodec.decode_input(tensor) for tensor in payload.inputs}
        with torch.inference_mode():
            answers = self._module(torch.from_numpy(arrays["eeg_microvolt"].copy()), torch.from_numpy(arrays["mask"].astype("float32")))
        columns = (answer.numpy().reshape(len(answer), -1) for answer in answers)
        outputs = [NumpyCodec.encode_output(name, column) for name, column in zip(self._names, columns, strict=True)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
