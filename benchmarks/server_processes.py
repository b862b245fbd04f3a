"""The servers that are compared, each a process of its own on a loopback port, with the same TorchScript file and one torch thread."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backbone.bundle import MODEL, Bundle

ROOT = Path(__file__).parents[1]
PEERS = Path(__file__).parent / "peers"
STARTED_WITHIN_S = 60.0
LOOPBACK = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], port: int, folder: Path, **environment: str) -> Iterator[str]:
    """Yield `host:port` once the process listens there; end the process and its children afterwards."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # noqa: TID251  handed on, not read
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env={**inherited, "OMP_NUM_THREADS": "1", **environment}, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait(process, port, folder)
        yield f"{LOOPBACK}:{port}"
    finally:
        os.killpg(process.pid, 15)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    until_s = time.monotonic() + STARTED_WITHIN_S
    while process.poll() is None and time.monotonic() < until_s:
        with socket.socket() as probe:
            if probe.connect_ex((LOOPBACK, port)) == 0:
                return
        time.sleep(0.1)
    sys.exit(f"{process.args}: does not listen; its log ends with\n{(folder / 'log').read_text()[-2000:]}")


@contextmanager
def sopor(bundle: Bundle, folder: Path) -> Iterator[str]:
    port = free_port()
    with running(
        [sys.executable, "-m", "model_server"],
        port,
        folder,
        PYTHONPATH=str(ROOT),
        SOPOR_MODEL_LISTEN=f"{LOOPBACK}:{port}",
        SOPOR_MODEL_MODEL=bundle.reference,
    ) as target:
        yield target


@contextmanager
def mlserver(bundle: Bundle, folder: Path, python: Path, *, batched: bool) -> Iterator[str]:
    """MLServer over gRPC, without batching (its default) or with batches of up to 32 that wait 5 ms."""
    port = free_port()
    (folder / MODEL).write_bytes(bundle.files[MODEL])
    server = {"http_port": free_port(), "grpc_port": port, "metrics_port": free_port(), "host": LOOPBACK, "parallel_workers": 0}
    outputs = [output.name for output in bundle.manifest.outputs]
    model = {
        "name": bundle.name,
        "implementation": "mlserver_depth.Depth",
        "parameters": {"uri": str(folder / MODEL), "extra": {"outputs": outputs}},
        **({"max_batch_size": 32, "max_batch_time": 0.005} if batched else {}),
    }
    (folder / "settings.json").write_text(json.dumps({**server, "debug": False}))
    (folder / "model-settings.json").write_text(json.dumps(model))
    with running([str(python.parent / "mlserver"), "start", "."], port, folder, PYTHONPATH=str(PEERS)) as target:
        yield target


@contextmanager
def mosec(bundle: Bundle, folder: Path, python: Path) -> Iterator[str]:
    """Mosec over HTTP, batches of up to 32 that wait 5 ms."""
    port, first = free_port(), bundle.manifest.inputs
    (folder / MODEL).write_bytes(bundle.files[MODEL])
    command = [str(python), str(PEERS / "mosec_depth.py"), "--port", str(port), "--timeout", "10000"]
    shape = {"DEPTH_CHANNELS": str(len(first)), "DEPTH_SAMPLES": str(first[0].samples)}
    with running(command, port, folder, DEPTH_MODEL=str(folder / MODEL), **shape) as target:
        yield target
