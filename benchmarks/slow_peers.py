"""How long one good sender waits for its answers while a thousand slow peers are connected, and junk comes at 2 MB a second.

`python -m benchmarks.slow_peers` prints one JSON object: for each phase the good sender's answer times, the listener's share of a core,
its memory and its connections. The streams are not there: what is measured is the way from the socket to the journal and back.
"""

import asyncio
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from tests.listener import Listener, Peer, vitals

PEERS, BYTE_EACH_S = 1000, 1.0
JUNK_BYTES_S, JUNK_PIECE = 2_000_000, b"GET / HTTP/1.1\r\n" * 2048
MESSAGES, MESSAGE_EACH_S = 1000, 0.02
BOUND_MS = 50.0
NOBODY = "redis://127.0.0.1:1"


async def slow(port: int, number: int) -> None:
    """Be a peer that sends a message byte by byte and never ends it; come again when let go."""
    address = f"127.0.0.{2 + number // 100}"
    await asyncio.sleep(number * BYTE_EACH_S / PEERS)
    while True:
        _, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
        try:
            for byte in itertools.chain(b"\x0bMSH|^~\\&|SIM_MINDRAY|", itertools.repeat(0x78)):
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(BYTE_EACH_S)
        except ConnectionError:
            writer.close()


async def junk(port: int) -> None:
    """Send what is no message."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.100", 0))
    while True:
        writer.write(JUNK_PIECE)
        await writer.drain()
        await asyncio.sleep(len(JUNK_PIECE) / JUNK_BYTES_S)


async def bother(port: int, *kinds: str) -> None:
    """Be all the bad peers of these kinds."""
    works = [slow(port, number) for number in range(PEERS)] if "slow" in kinds else []
    await asyncio.gather(*works, *([junk(port)] if "junk" in kinds else []))


def connections_of(listener: psutil.Process) -> int:
    return sum(connection.status == psutil.CONN_ESTABLISHED for connection in listener.net_connections("tcp"))


def measured(listener: Listener, first: int) -> dict[str, Any]:
    """Return a good sender's answer times in ms; it sends at its own pace and waits for each answer."""
    process, peer, times = psutil.Process(listener.process.pid), Peer(listener.port), []
    cpu_s, begun_s = sum(process.cpu_times()[:2]), time.perf_counter()
    for number in range(first, first + MESSAGES):
        content, sent_s = vitals(number), time.perf_counter()
        if peer.ask(content)[1:] != ["AA", f"M{number}"]:
            sys.exit("the good sender got another answer than AA")
        times.append((time.perf_counter() - sent_s) * 1000)
        time.sleep(MESSAGE_EACH_S)
    took_s = time.perf_counter() - begun_s
    held = connections_of(process)
    peer.connection.close()
    return {
        "p50_ms": round(statistics.median(times), 2),
        "p99_ms": round(statistics.quantiles(times, n=100)[98], 2),
        "max_ms": round(max(times), 2),
        "listener_core": round((sum(process.cpu_times()[:2]) - cpu_s) / took_s, 3),
        "listener_rss_mb": round(process.memory_info().rss / 1e6, 1),
        "connections": held,
        "load_1min": round(os.getloadavg()[0], 2),
    }


def phase(listener: Listener, number: int, *kinds: str) -> dict[str, Any]:
    """Measure beside bad peers of these kinds, which are a process of their own."""
    command = [sys.executable, "-m", "benchmarks.slow_peers", str(listener.port), *kinds]
    others = subprocess.Popen(command)
    process = psutil.Process(listener.process.pid)
    try:
        while "slow" in kinds and connections_of(process) < PEERS and others.poll() is None:
            time.sleep(0.1)
        return measured(listener, number * MESSAGES)
    finally:
        others.kill()
        others.wait()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        listener = Listener(Path(folder), NOBODY)
        listener.start()
        try:
            phases = {"alone": (), "slow": ("slow",), "slow_and_junk": ("slow", "junk")}
            result = {name: phase(listener, number, *kinds) for number, (name, kinds) in enumerate(phases.items())}
        finally:
            listener.close()
    within = all(one["p99_ms"] <= BOUND_MS for one in result.values())
    print(json.dumps({"peers": PEERS, "messages": MESSAGES, "bound_ms": BOUND_MS, "within": within, **result}, indent=1))


if __name__ == "__main__":
    if sys.argv[1:]:
        asyncio.run(bother(int(sys.argv[1]), *sys.argv[2:]))
    else:
        main()
