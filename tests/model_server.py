"""The model server as a process, for tests: real gRPC, the shipped bundle, its golden vectors."""

import os
import signal
import socket
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from backbone import bundle as bundles

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "model_server" / "models"
REFERENCE = "depth-eeg@0.1.0"
READY_WITHIN_S = 40


@pytest.fixture(scope="module")
def bundle():
    return bundles.read(MODELS, REFERENCE)


@pytest.fixture(scope="module")
def golden(bundle):
    with np.load(BytesIO(bundle.files["golden.npz"])) as archive:
        arrays = dict(archive)
    arrays["eeg"] = arrays["eeg_counts"].astype(np.float32) * arrays["uv_per_count"]
    return arrays


def started(folder: Path, **settings: str) -> subprocess.Popen[bytes]:
    """Start a server in `folder` and return when it said READY=1 (or ended)."""
    notify = str(folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready, (folder / "log").open("wb") as log:
        ready.bind(notify)
        ready.settimeout(0.1)
        names = {f"SOPOR_MODEL_{name.upper()}": value for name, value in settings.items()}
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "NOTIFY_SOCKET": notify, **names}
        process = subprocess.Popen([sys.executable, "-W", "error", "-m", "model_server"], cwd=ROOT, env=environment, stderr=log)
        for _ in range(10 * READY_WITHIN_S):
            try:
                assert ready.recv(200).startswith(b"READY=1")
                break
            except TimeoutError:
                if process.poll() is not None:
                    break
        else:
            process.kill()
            pytest.fail((folder / "log").read_text())
    return process


@pytest.fixture(scope="module")
def model_server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model_server")
    process = started(folder, listen=f"unix:{folder}/grpc")
    assert process.poll() is None, (folder / "log").read_text()
    yield f"unix:{folder}/grpc"
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
