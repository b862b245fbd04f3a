"""`sopor bench`: a short measurement against the real server, as a script reads it."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_server_is_measured_over_both_of_its_calls():
    command = [sys.executable, "-m", "cli", "bench", "server", "--rounds", "1", "--seconds", "1", "--json"]

    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=90)

    figures = json.loads(ended.stdout)
    assert figures["streams64_scores_per_s"] > 40  # fewer could not serve forty rooms
    assert 0 < figures["single_p50_ms"] < figures["streams64_p99_ms"]
    assert figures["open40_p99_ms"] > 0
    assert list(figures["peers"]) == ["sopor_open_inference"]
    assert len(figures["load"]) == 2
