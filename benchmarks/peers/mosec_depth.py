"""The depth model behind Mosec, whose own options are on the command line; DEPTH_MODEL, DEPTH_CHANNELS, DEPTH_SAMPLES say the rest.

Bytes of EEG (float32) and mask (uint8) come in, bytes of all outputs (float32) go out.
"""

import os

import numpy as np
import torch
from mosec import Server, Worker

# From the environment, because Mosec starts this file anew in each worker.
MODEL = os.environ["DEPTH_MODEL"]  # noqa: TID251  no settings of ours in this environment
CHANNELS, SAMPLES = int(os.environ["DEPTH_CHANNELS"]), int(os.environ["DEPTH_SAMPLES"])  # noqa: TID251
SIZE = CHANNELS * SAMPLES


class Depth(Worker):
    def __init__(self) -> None:
        super().__init__()
        torch.set_num_threads(1)
        self._module = torch.jit.freeze(torch.jit.load(MODEL, map_location="cpu").eval())

    def deserialize(self, data: bytes) -> tuple[np.ndarray, np.ndarray]:
        eeg = np.frombuffer(data, "<f4", SIZE).reshape(CHANNELS, SAMPLES)
        return eeg, np.frombuffer(data, np.uint8, SIZE, SIZE * 4).reshape(CHANNELS, SAMPLES).astype(np.float32)

    def serialize(self, data: np.ndarray) -> bytes:
        return data.astype("<f4").tobytes()

    def forward(self, data: list[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
        eeg, mask = (torch.from_numpy(np.stack(part)) for part in zip(*data, strict=True))
        with torch.inference_mode():
            answers = self._module(eeg, mask)
        return list(np.concatenate([answer.numpy().reshape(len(data), -1) for answer in answers], axis=1))


if __name__ == "__main__":
    server = Server()
    server.append_worker(Depth, num=1, max_batch_size=32, max_wait_time=5)
    server.run()
