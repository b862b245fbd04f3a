"""Scores a second and their latency, of the model server and of others with the same model: medians of rounds that take turns.

`python -m benchmarks.server` prints one JSON object. `--mlserver PYTHON` and `--mosec PYTHON` name interpreters of environments that hold
MLServer or Mosec beside torch (`benchmarks/peers/make.sh FOLDER` makes both); without them only Sopor is measured.
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from backbone import bundle as bundles
from backbone.bundle import GOLDEN, Bundle
from benchmarks import server_processes as processes
from benchmarks.server_load import Client, Golden, closed, http_bytes, open_inference, paced, score

MODELS = Path(__file__).parents[1] / "model_server" / "models"
STREAMS, CASES = 64, 40
WARM_S = 1.0


@dataclass(frozen=True)
class Server:
    """A server that runs, and how it is called."""

    name: str
    target: str
    client: Client
    figures: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def median(self, figure: str) -> float:
        return round(statistics.median(self.figures[figure]), 2)


def golden_of(bundle: Bundle) -> Golden:
    with np.load(BytesIO(bundle.files[GOLDEN]), allow_pickle=False) as archive:
        eeg = archive["eeg_counts"].astype("<f4") * archive["uv_per_count"]
        return Golden(bundle.name, bundle.version, eeg, archive["mask"], archive["depth"])


async def measure(server: Server, golden: Golden, seconds: float) -> None:
    """Measure 64 callers, then one, then (of Sopor's own call) 40 cases once a second."""
    async with server.client(server.target, golden) as call:
        await closed(call, golden, STREAMS, WARM_S)
        many = await closed(call, golden, STREAMS, seconds)
        one = await closed(call, golden, 1, seconds)
        figures = {
            "c64_per_s": many.per_s,
            "c64_p99_ms": many.percentile_ms(99),
            "c1_p50_ms": one.percentile_ms(50),
            "client_cores": many.client_cpu_s / many.elapsed_s,
        }
        if server.client is score:
            figures["open40_p99_ms"] = (await paced(call, golden, CASES, seconds)).percentile_ms(99)
    for name, value in figures.items():
        server.figures[name].append(value)


def started(bundle: Bundle, arguments: argparse.Namespace, stack: ExitStack) -> list[Server]:
    """Start all servers; each has its own folder."""

    def folder() -> Path:
        return Path(stack.enter_context(tempfile.TemporaryDirectory()))

    own = stack.enter_context(processes.sopor(bundle, folder()))
    servers = [Server("sopor", own, score), Server("sopor_open_inference", own, open_inference)]
    if arguments.mlserver:
        for name, batched in (("mlserver", False), ("mlserver_batches", True)):
            target = stack.enter_context(processes.mlserver(bundle, folder(), arguments.mlserver, batched=batched))
            servers.append(Server(name, target, open_inference))
    if arguments.mosec:
        servers.append(Server("mosec", stack.enter_context(processes.mosec(bundle, folder(), arguments.mosec)), http_bytes))
    return servers


def figures_of(servers: list[Server], load: list[float], arguments: argparse.Namespace) -> dict[str, Any]:
    own, others = servers[0], servers[1:]
    return {
        "streams64_scores_per_s": own.median("c64_per_s"),
        "streams64_p99_ms": own.median("c64_p99_ms"),
        "single_p50_ms": own.median("c1_p50_ms"),
        "open40_p99_ms": own.median("open40_p99_ms"),
        "peers": {server.name: {figure: server.median(figure) for figure in ("c64_per_s", "c64_p99_ms", "c1_p50_ms")} for server in others},
        "client_cores": {server.name: server.median("client_cores") for server in servers},
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "cores": os.cpu_count(),
        "load": [round(value, 2) for value in load],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="depth-eeg@0.1.0")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement in a round")
    parser.add_argument("--mlserver", type=Path, metavar="PYTHON")
    parser.add_argument("--mosec", type=Path, metavar="PYTHON")
    arguments = parser.parse_args()
    bundle = bundles.read(MODELS, arguments.bundle)
    golden, load = golden_of(bundle), [os.getloadavg()[0]]
    with ExitStack() as stack:
        servers = started(bundle, arguments, stack)
        for _ in range(arguments.rounds):
            for server in servers:
                asyncio.run(measure(server, golden, arguments.seconds))
    print(json.dumps(figures_of(servers, [*load, os.getloadavg()[0]], arguments), indent=1))


if __name__ == "__main__":
    main()
