"""The depth model behind Mosec: mosec_depth.py MODEL PORT CHANNELS SAMPLES. Its environment has Mosec and torch.

Bytes of EEG (float32) and mask (uint8) come in, bytes of all outputs (float32) go out.
"""

import sys

import numpy as np
import torch
from mosec import Server, Worker

MODEL, PORT, CHANNELS, SAMPLES = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
sys.argv[1:] = ["--port", PORT, "--timeout", "10000"]  # Mosec reads its settings from the command line
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
