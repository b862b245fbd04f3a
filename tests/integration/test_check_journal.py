"""The check's first accounts, with real processes: the simulator's log beside the listener's journal, the listener killed under load."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backbone.vault import make_keys
from cli.check.accounts import Accounts
from cli.check.journal import read_journal
from cli.check.sent import sent_of
from cli.check.verdict import verdict_of
from tests.check_accounts import WARD
from tests.servers import free_port, until

ROOT = Path(__file__).parents[2]
HASTY = str(ROOT / "tests" / "fakes" / "hasty_listener.py")
pytestmark = pytest.mark.integration


class Way:
    """A listener and the simulated devices that send to it."""

    def __init__(self, folder, redis_url):
        self.log, self.journal = folder / "sent.jsonl", folder / "journal"
        make_keys(folder / "keys")
        port = str(free_port())
        ours = {
            "PYTHONPATH": str(ROOT),
            "SOPOR_SITE": str(ROOT / "deploy" / "demo" / "sopor.toml"),
            "SOPOR_KEYS": str(folder / "keys"),
            "SOPOR_REDIS_URL": redis_url,
            "SOPOR_MAPPINGS": str(ROOT / "deploy" / "mappings"),
            "SOPOR_LISTENER_JOURNAL": str(self.journal),
            "SOPOR_LISTENER_PORT": port,
            "SOPOR_LISTENER_INSPECT_PORT": "0",
            "SOPOR_SIMULATOR_PORT": port,
            "SOPOR_SIMULATOR_LOG": str(self.log),
        }
        self.environment = os.environ | ours
        self.out = (folder / "out").open("wb")

    def start(self, *argv):
        return subprocess.Popen([sys.executable, *argv], cwd=ROOT, env=self.environment, stdout=self.out, stderr=self.out)

    def sent(self):
        return sent_of(self.log.read_text().splitlines() if self.log.exists() else ())

    def verdict(self):
        return verdict_of(Accounts(WARD, self.sent(), journal=read_journal(self.journal)))

    def played(self, first, kill=lambda _: None):
        """Play with `first` as listener until it died, if need be by `kill`; a right one takes its place until the devices are done."""
        listener, devices = self.start(*first), self.start("-m", "services.device_simulator")
        try:
            kill(listener)
            assert listener.wait(60) == -signal.SIGKILL
            acknowledged = len(self.sent().acknowledged)
            listener = self.start("-m", "services.hl7_listener")
            until("devices are acknowledged again", lambda: len(self.sent().acknowledged) > acknowledged + 20, 40)
            devices.send_signal(signal.SIGTERM)
            assert devices.wait(20) == 0
            listener.send_signal(signal.SIGTERM)
            assert listener.wait(20) == 0
        finally:
            listener.kill()
            devices.kill()
            self.out.close()


@pytest.fixture
def way(tmp_path, redis_url):
    return Way(tmp_path, redis_url)


def test_a_listener_that_acknowledges_before_it_keeps_is_found(way):
    way.played((HASTY,))

    verdict = way.verdict()

    figures = verdict.figures
    assert figures.sent == figures.acked > figures.journaled > 0
    assert "acknowledged but are not in it" in next(str(one) for one in verdict.failures if one.rule == "journal")


def test_the_listener_killed_under_load_has_kept_all_that_it_acknowledged(way):
    def kill(listener):
        until("messages are acknowledged", lambda: len(way.sent().acknowledged) > 40, 60)
        listener.kill()

    way.played(("-m", "services.hl7_listener"), kill)

    verdict = way.verdict()
    assert verdict.figures.sent == verdict.figures.acked == verdict.figures.journaled > 60
    assert {"messages", "journal"}.isdisjoint(one.rule for one in verdict.failures)
