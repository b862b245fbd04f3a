"""How long the explanation of each public message takes: median of three runs a file, in one process, the mapping read once.

`python -m benchmarks.explain` prints one JSON object. `SOPOR_CORPUS` names the folder of the messages.
"""

import json
import os
import statistics
import sys
import time
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from pydantic_settings import BaseSettings

from backbone.clock import SystemClock
from services.hl7_listener.explain import as_data, explanation_of
from services.hl7_listener.mapping import read_mapping
from services.hl7_listener.oru import Sender

ROOT = Path(__file__).parents[1]
RUNS = 3
BOUND_MS = 50.0
LARGE_BYTES = 1_000_000  # files over this size have no bound


class Settings(BaseSettings, env_prefix="SOPOR_"):
    corpus: Path = ROOT.parent / "shared" / "corpus"


def milliseconds(path: Path, sender: Sender) -> float:
    begun_s = time.perf_counter()
    json.dumps(as_data(explanation_of(path.read_bytes(), sender)))
    return (time.perf_counter() - begun_s) * 1000


def main() -> None:
    folder = Settings().corpus / "hl7"
    paths = sorted(folder.rglob("*.hl7"))
    if not paths:
        sys.exit(f"{folder}: no public messages; SOPOR_CORPUS names their folder")
    sender = Sender(read_mapping(ROOT / "deploy" / "mappings", "generic_pcd01"), ZoneInfo("UTC"), timedelta(0), SystemClock().now())
    runs = [[milliseconds(path, sender) for path in paths] for _ in range(RUNS)]
    medians = {path: statistics.median(times) for path, times in zip(paths, zip(*runs, strict=True), strict=True)}
    bounded = {path: ms for path, ms in medians.items() if path.stat().st_size <= LARGE_BYTES}
    slowest = sorted(medians, key=lambda path: medians[path], reverse=True)[:10]
    result = {
        "files": len(paths),
        "runs": RUNS,
        "bound_ms": BOUND_MS,
        "bounded_files": len(bounded),
        "over_bound": [str(path.relative_to(folder)) for path, ms in bounded.items() if ms > BOUND_MS],
        "median_ms": round(statistics.median(bounded.values()), 3),
        "p99_ms": round(statistics.quantiles(bounded.values(), n=100)[98], 3),
        "longest_bounded_ms": round(max(bounded.values()), 3),
        "slowest": [{"file": str(p.relative_to(folder)), "bytes": p.stat().st_size, "ms": round(medians[p], 3)} for p in slowest],
        "load_1min": round(os.getloadavg()[0], 2),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
