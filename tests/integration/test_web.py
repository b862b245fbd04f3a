"""The wall's process against a real Valkey and a real PostgreSQL."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from anesthesia.leaf import event_of
from anesthesia.prediction import RefusalReason
from backbone.database import upgrade
from tests.records import device, eeg, record, refusal
from tests.servers import until
from tests.web import ROOT, Web, site_of

PROMISED = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class Follower:
    """A page's connection, without the page."""

    def __init__(self, web: Web) -> None:
        self._connection = http.client.HTTPConnection(web.url.split("//")[1].rstrip("/"), timeout=10)
        self._connection.request("GET", "/api/stream")
        self._answer = self._connection.getresponse()
        self.headers = self._answer.headers

    def next(self, kind: str) -> dict:
        """Return the next message of a kind."""
        while True:
            name = self._answer.readline().decode().strip()
            data = self._answer.readline().decode().strip()
            assert self._answer.readline() == b"\n", "the stream ended"
            if name == f"event: {kind}":
                return json.loads(data.removeprefix("data: "))

    def ended(self) -> bool:
        """Tell whether the server has said goodbye."""
        while line := self._answer.readline():
            assert line is not None
        return True

    def close(self) -> None:
        self._answer.close()
        self._connection.close()


def _room(body: dict, bed: str) -> dict:
    return next(room for room in body["rooms"] if room["bed"] == bed)


def test_a_page_gets_everything_first_and_then_each_change_at_once(start_web, redis_url):
    now = int(time.time())
    record(redis_url, eeg("OR 1", now - 2, 47.2))
    web = start_web()
    until("ready", lambda: web.get("/readyz")[0] == 200)
    follower = Follower(web)

    whole = follower.next("wall")
    started = time.monotonic()
    record(redis_url, refusal("OR 1", now - 1, RefusalReason.LEAD_OFF))
    change = follower.next("rooms")
    took_s = time.monotonic() - started
    follower.close()

    assert [room["bed"] for room in whole["rooms"]] == [f"OR {n}" for n in range(1, 7)]
    assert (_room(whole, "OR 1")["value"], _room(whole, "OR 2")["kind"]) == (47, "empty")
    assert [(room["kind"], room["words"]) for room in change["rooms"]] == [("refusal", "EEG lead off")]
    assert took_s < 0.8  # the page's own part is below 0.3 s; recording with a fresh connection takes the rest


def test_in_the_midst_of_many_records_a_refusal_waits_less_than_a_third_of_a_second(start_web, redis_url):
    follower = Follower(start_web())
    follower.next("wall")
    now = int(time.time())
    record(redis_url, *(eeg("OR 1", now - 400 + n) for n in range(400)), refusal("OR 2", now, RefusalReason.LEAD_OFF))

    change = follower.next("rooms")
    while all(room["bed"] != "OR 2" for room in change["rooms"]):
        change = follower.next("rooms")
    follower.close()

    recorded_ms = _room(change, "OR 2")["expires_ms"] - 10_000  # a refusal without numbers stands for its bound from its recording
    assert 0 <= change["now_ms"] - recorded_ms < 300


def test_every_second_a_heartbeat_carries_the_servers_time(start_web):
    follower = Follower(start_web())

    first, second = follower.next("beat"), follower.next("beat")
    follower.close()

    assert 500 < second["now_ms"] - first["now_ms"] < 2500
    assert second["now_ms"] - second["feed_ms"] < 3000


def test_the_points_of_a_burst_all_reach_the_trend(start_web, redis_url):
    follower = Follower(start_web())
    follower.next("wall")
    now = int(time.time())
    record(redis_url, *(device("OR 5", now - 10 + n, now - 10) for n in range(10)))

    seconds: list[int] = []
    while len(seconds) < 10:
        seconds += [point[0] for point in follower.next("rooms")["points"]["OR 5"]]
    follower.close()

    assert seconds == list(range(now - 10, now))


def test_the_past_comes_from_postgresql(start_web, start_ledger, redis_url):
    now = int(time.time())
    record(redis_url, *(eeg("OR 1", now - 60 + n) for n in range(10)), *(eeg("OR 1", now - 40 + n) for n in range(5)))
    start_ledger()
    web = start_web()

    until("both runs", lambda: len(web.json("/api/history?bed=OR%201").get("runs", [])) == 2)
    until("nothing unrecorded", lambda: web.json("/api/wall")["unrecorded"] == [])
    runs = web.json("/api/history?bed=OR%201")["runs"]
    assert [(run["start"], len(run["values"])) for run in runs] == [(now - 60, 10), (now - 40, 5)]


def test_without_a_ledger_the_rooms_are_marked_not_yet_recorded(start_web, redis_url):
    web = start_web()
    record(redis_url, eeg("OR 1", int(time.time())))

    until("the mark", lambda: "OR 1" in web.json("/api/wall")["unrecorded"], within_s=15)


def test_without_postgresql_the_wall_lives_and_says_what_is_missing(start_web, redis_url, postgres):
    web = start_web()
    postgres.stop()
    try:
        record(redis_url, eeg("OR 1", int(time.time())))
        until("the room", lambda: web.json("/api/wall")["rooms"][0]["kind"] == "index")
        status, _, body = web.get("/api/history?bed=OR%201")
    finally:
        postgres.start()

    assert (status, json.loads(body)) == (503, {"error": "past records cannot be read now: the database does not answer"})
    assert web.get("/readyz")[0] == 200


def told(database_url: str) -> list[tuple[str, str]]:
    """Return kind and bed of the events that were handed in."""
    with psycopg.connect(database_url) as connection:
        found = [event_of(entry) for (entry,) in connection.execute("SELECT entry FROM audit_intake ORDER BY id")]
    assert {event.actor for event in found} <= {"loopback"}
    return [(event.kind, str(event.about.get("bed", ""))) for event in found]


def test_a_viewer_has_one_leaf_a_session_and_one_for_each_rooms_past(start_web, database_url):
    upgrade(database_url)
    web = start_web()

    for path in ("/api/wall", "/api/wall", "/api/history?bed=OR%201", "/api/history?bed=OR%202", "/api/history?bed=OR%201", "/livez", "/"):
        assert web.get(path)[0] == 200
    follower = Follower(web)  # another browser: it sends no User-Agent
    follower.next("wall")
    follower.close()

    expected = [("wall_opened", ""), ("history_viewed", "OR 1"), ("history_viewed", "OR 2"), ("wall_opened", "")]
    until("all events", lambda: told(database_url) == expected)


def test_without_postgresql_the_wall_is_shown_and_the_view_told_later(start_web, postgres, database_url):
    upgrade(database_url)
    web = start_web()
    postgres.stop()
    try:
        shown = web.get("/api/wall")[0]
    finally:
        postgres.start()

    assert shown == 200
    until("the event", lambda: told(database_url) == [("wall_opened", "")], within_s=20)


def test_views_that_never_reached_the_log_are_said_at_the_end(start_web, tmp_path):
    web = start_web()  # no ledger has made the tables
    for path in ("/api/wall", "/api/history?bed=OR%201"):
        web.get(path)

    web.process.send_signal(signal.SIGTERM)

    assert web.process.wait(10) == 0
    assert '"views_missed"' in (tmp_path / "web.log").read_text()


def test_redis_may_go_and_come_back(start_web, valkey):
    web = start_web()
    until("ready", lambda: web.get("/readyz")[0] == 200)

    valkey.stop()
    until("not ready", lambda: web.get("/readyz")[0] == 503, within_s=15)
    valkey.start()
    record(valkey.url, eeg("OR 1", int(time.time())))

    until("the room", lambda: web.json("/api/wall")["rooms"][0]["kind"] == "index")
    assert web.get("/readyz")[0] == 200


@pytest.mark.parametrize("path", ["/", "/api/wall", "/static/wall.js", "/livez", "/nothing"])
def test_every_answer_is_guarded(start_web, path):
    _, headers, _ = start_web().get(path)

    assert {name: headers[name] for name in PROMISED} == PROMISED
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]


@pytest.mark.parametrize(
    ("path", "status"), [("/nothing", 404), ("/static/nothing", 404), ("/api/history", 400), ("/api/history?bed=X", 404)]
)
def test_faults_are_told_in_words(start_web, path, status):
    answer, _, body = start_web().get(path)

    assert answer == status
    assert " " in json.loads(body)["error"]


def test_a_request_for_another_host_is_turned_away(start_web):
    connection = http.client.HTTPConnection(start_web().url.split("//")[1].rstrip("/"), timeout=5)

    connection.request("GET", "/api/wall", headers={"Host": "example.org"})
    status = connection.getresponse().status
    connection.close()

    assert status == 421


def test_a_told_wall_stops_in_order_and_lets_its_pages_go(start_web):
    web = start_web()
    follower = Follower(web)
    follower.next("wall")

    web.process.send_signal(signal.SIGTERM)

    assert follower.ended()
    assert web.process.wait(6) == 0
    follower.close()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SOPOR_WEB_HOST", "0.0.0.0", "no login yet"),
        ("SOPOR_DATABASE_URL", "mysql://x/y", "not PostgreSQL"),
        ("SOPOR_SITE", "silent", "silent"),
    ],
)
def test_a_wrong_setting_ends_it_with_words(tmp_path: Path, name, value, words):
    site = tmp_path / "sopor.toml"
    site.write_text(site_of(2).replace("simulation", "silent" if value == "silent" else "simulation"))
    settings = {"SOPOR_SITE": str(site), "SOPOR_REDIS_URL": "redis://127.0.0.1:1", "SOPOR_DATABASE_URL": "postgresql://127.0.0.1:1/x"}
    if name != "SOPOR_SITE":
        settings[name] = value

    done = subprocess.run(
        [sys.executable, "-m", "services.web"], env={**os.environ, **settings}, capture_output=True, text=True, cwd=ROOT, check=False
    )

    assert done.returncode == 3
    assert words in done.stderr
