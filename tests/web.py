"""The wall's process, for tests."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers import until

ROOT = Path(__file__).parents[1]
SITE_FILE = ROOT / "deploy" / "demo" / "sopor.toml"


def site_of(rooms: int) -> str:
    """Return a site file with so many theatres, `OR 1` onwards, in mode simulation."""
    beds = "\n".join(f'[[bed]]\nname = "OR {n + 1}"\ntheatre = true\nadult_only = true' for n in range(rooms))
    source = '[[source]]\nname = "sim-adt"\nkind = "adt"\nsending_application = "SIM_ADT"\nsimulated = true'
    return f'site = "demo"\nmode = "simulation"\n\n{beds}\n\n{source}\n'


@dataclass
class Web:
    """A running wall."""

    process: "subprocess.Popen[bytes]"
    url: str

    def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers (names in small letters) and body of a GET."""
        try:
            with urllib.request.urlopen(self.url + path.lstrip("/"), timeout=10) as answer:
                return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, {k.lower(): v for k, v in answer.headers.items()}, answer.read()

    def json(self, path: str) -> dict[str, object]:
        """Return the JSON body of a GET."""
        body: dict[str, object] = json.loads(self.get(path)[2])
        return body


StartWeb = Callable[..., Web]


def _url_in(log: Path) -> str:
    for line in log.read_text().splitlines():
        told = json.loads(line) if line.startswith("{") else {}
        if told.get("event") == "serving":
            return str(told["url"])
    return ""


@pytest.fixture
def start_web(redis_url: str, database_url: str, tmp_path: Path) -> Iterator[StartWeb]:
    """Starts a wall on a free port; the log is `web.log` in the test's folder."""
    running = []

    def starts(rooms: int = 6) -> Web:
        site, log_file = tmp_path / "sopor.toml", tmp_path / "web.log"
        site.write_text(site_of(rooms))
        environment = {**os.environ, "SOPOR_SITE": str(site), "SOPOR_REDIS_URL": redis_url, "SOPOR_DATABASE_URL": database_url}
        environment["SOPOR_WEB_PORT"] = "0"
        with log_file.open("wb") as log:
            process = subprocess.Popen([sys.executable, "-m", "services.web"], env=environment, stderr=log, cwd=ROOT)
        running.append(process)
        until("the wall serves", lambda: process.poll() is not None or _url_in(log_file))
        return Web(process, _url_in(log_file))

    yield starts
    for process in running:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()
