"""Say, before pip downloads it, how large the torch build is that pip resolves (a CUDA build brings gigabytes with it)."""

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlparse
from urllib.request import Request, urlopen

MEGABYTE = 1e6


def size_of(url: str) -> float:
    """Return the bytes behind a file or https address; 0 when nobody says."""
    parts = urlparse(url)
    if parts.scheme == "file":
        return Path(unquote(parts.path)).stat().st_size
    with urlopen(Request(url, method="HEAD"), timeout=10) as reply:  # noqa: S310  the address pip itself resolved
        return float(reply.headers.get("Content-Length") or 0)


def main() -> None:
    """Resolve torch with pip's own resolver and print one line."""
    command = [sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--ignore-installed", "--report", "-"]
    done = subprocess.run([*command, "-c", "constraints.txt", *sys.argv[1:], "torch"], capture_output=True, text=True, check=False)  # noqa: S603
    try:
        packages = json.loads(done.stdout)["install"]
        torch = next(p["metadata"]["version"] for p in packages if p["metadata"]["name"] == "torch")
        total = sum(size_of(p["download_info"]["url"]) for p in packages)
    except (ValueError, KeyError, StopIteration, OSError):
        sys.stdout.write("torch: size not known beforehand; TORCH_INDEX_URL picks a smaller, CPU-only build\n")
        return
    size = f"{total / MEGABYTE:,.0f} MB with its {len(packages) - 1} dependencies"
    sys.stdout.write(f"torch {torch}: {size}; TORCH_INDEX_URL picks another build\n")


if __name__ == "__main__":
    main()
