"""Recorded scores made again: scorer, ledger, archive and replay together, on real servers, with a model that answers by the window."""

import asyncio
import json
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from uuid import UUID

import numpy as np
import psycopg
import pytest

from anesthesia.limits import Limits
from anesthesia.prediction import Prediction
from backbone.audit import snapshot
from backbone.redis.streams import connect
from backbone.wire import pack_record, unpack_record
from cli.main import run
from cli.replay.outcome import Outcome
from cli.replay.replays import replay, replay_seconds
from cli.replay.sources import ReplaySources
from protos.depth.v1 import depth_pb2 as pb
from services.depth_scorer.board import Rules
from services.ledger.archive_folder import path_of
from tests.beds import SECOND, eeg, frame, numeric, occupancy
from tests.fakes.model_peer import ModelPeer, serving
from tests.integration.test_scorer import RULES, StoppedClock, Theatre, scoring
from tests.ledger import StartLedger
from tests.servers import until

CASE = occupancy().case_id
SECONDS = 12
WAIT_S = 15.0


@dataclass
class Reading(ModelPeer):
    """Answers by what is in the window, so that another window has another value."""

    digest: str = "scripted"

    async def Score(self, request, context):  # noqa: N802  gRPC's own name
        self.value = 20 + zlib.crc32(request.eeg_microvolt + request.mask) % 5000 / 100
        answer = await super().Score(request, context)
        answer.score.model.CopyFrom(pb.ModelUsed(name=request.model, digest=self.digest))
        return answer


def samples(second: int) -> np.ndarray:
    return np.round(np.random.default_rng(second + 100).normal(0, 200, 128)).astype(np.int16)


def frames(seconds: range):
    """EEG with a second that comes late and one that is missing, a BIS, and a slow temperature."""
    for s in seconds:
        readings = [numeric("bis", 50 + s, s)] if s == 6 else [eeg(s, samples(s)), numeric("bis", 50 + s, s)]
        yield frame(*readings, received=s + 1.02)
        if s == 4:
            yield frame(numeric("temperature", 36.5, -2), received=s + 1.03, interval=60, latency=60)


@contextmanager
def model(target: str, peer: ModelPeer) -> Iterator[ModelPeer]:
    """Serve a model from a thread of its own, as another process would."""
    loop, started, ended = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with serving(peer, target):
            started.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    started.wait(10)
    try:
        yield peer
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


def score(redis_url: str, target: str, *parts: range) -> None:
    """Send and record the parts of a case; between them the scorer is killed."""

    async def scores() -> None:
        async with connect(redis_url) as streams:
            await streams.prepare()
            theatre = Theatre(streams)
            await theatre.send(*frames(range(-3, 0)), occupancy())
            for part in parts:
                await theatre.send(*frames(part))
                async with scoring(redis_url, target, StoppedClock(part.stop + 1.2)):
                    await theatre.records(part.stop)

    asyncio.run(scores())


@pytest.fixture
def target(tmp_path: Path) -> str:
    (tmp_path / "run").mkdir()
    return f"unix:{tmp_path}/run/model.sock"


@pytest.fixture
def sources(database_url: str, tmp_path: Path, target: str) -> ReplaySources:
    return ReplaySources(database_url, tmp_path / "archive", tmp_path / "keys", RULES, "depth-eeg@0.1.0", target)


@pytest.fixture
def scored(start_ledger: StartLedger, redis_url: str, sources: ReplaySources, target: str) -> Iterator[ReplaySources]:
    """A case of a dozen recorded seconds, in its archive; its model answers."""
    with model(target, Reading()):
        start_ledger(archive_each_s="0.3")
        score(redis_url, target, range(5), range(5, SECONDS))
        until("all is recorded", lambda: len(recorded(sources.database_url)) == SECONDS)
        yield sources


def recorded(url: str) -> list[tuple[int, bytes]]:
    try:
        with psycopg.connect(url) as connection:
            return connection.execute('SELECT "second", payload FROM records ORDER BY "second"').fetchall()
    except psycopg.Error:
        return []


def every(sources: ReplaySources) -> list[tuple[UUID, int]]:
    return [(CASE, second) for second, _ in recorded(sources.database_url)]


def test_every_second_comes_out_as_it_was_recorded(scored):
    found = replay_seconds(scored, every(scored), wait_s=WAIT_S)

    assert found.differing == ()
    assert found.asked == found.equal == SECONDS
    values = {
        unpack_record(payload).value for _, payload in recorded(scored.database_url) if isinstance(unpack_record(payload), Prediction)
    }
    assert len(values) > SECONDS // 2  # the model told the windows apart


def test_drawn_predictions_come_out_as_they_were_recorded(scored):
    found = replay(scored, 8, Random(1))

    assert (found.asked, found.equal) == (8, 8)


def test_a_late_scorer_is_followed_too(start_ledger, redis_url, sources, target):
    with model(target, Reading()):
        start_ledger(archive_each_s="0.3")
        score(redis_url, target, range(SECONDS))  # all entries were there before the first second was scored
        until("all is recorded", lambda: len(recorded(sources.database_url)) == SECONDS)

        found = replay_seconds(sources, every(sources), wait_s=WAIT_S)

    assert found.differing == ()


def test_a_changed_record_is_found(scored):
    second, payload = recorded(scored.database_url)[-1]
    record = unpack_record(payload)
    assert isinstance(record, Prediction)
    changed = pack_record(replace(record, value=record.value - 1.0, low=record.low - 1.0))
    with psycopg.connect(scored.database_url) as connection:
        connection.execute('UPDATE records SET payload = %s WHERE "second" = %s', (changed, second))

    found = replay_seconds(scored, every(scored), wait_s=WAIT_S)

    assert [(one.second, one.outcome) for one in found.differing] == [(second, Outcome.DIFFERENT_VALUE)]


def test_a_changed_archive_is_found(scored):
    assert replay_seconds(scored, every(scored), wait_s=WAIT_S).differing == ()
    path = path_of(scored.archive, CASE)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    found = replay_seconds(scored, every(scored)[:2])

    assert {one.outcome for one in found.replays} == {Outcome.DAMAGED}


def test_other_rules_give_another_window(scored):
    stricter = replace(scored, rules=Rules(Limits(intervals_until_stale=0.5), RULES.minimum_coverage_s, simulation=True))

    found = replay_seconds(stricter, every(scored), wait_s=WAIT_S)

    assert Outcome.DIFFERENT_INPUT in {one.outcome for one in found.differing}


def test_an_erased_case_says_so_and_nobody_opens_it(scored):
    replay_seconds(scored, every(scored), wait_s=WAIT_S)
    with psycopg.connect(scored.database_url) as connection:
        connection.execute("UPDATE archives SET wrapped_key = NULL")

    found = replay_seconds(scored, every(scored)[:3])

    assert {one.outcome for one in found.replays} == {Outcome.ERASED}


def test_what_is_not_archived_yet_is_told_apart(start_ledger, redis_url, sources, target):
    with model(target, Reading()):
        process = start_ledger(archive_each_s="300")
        score(redis_url, target, range(4))
        until("all is recorded", lambda: len(recorded(sources.database_url)) == 4)
        early = replay_seconds(sources, every(sources))

        process.terminate()
        process.wait(15)

        assert early.pending == early.asked == len(every(sources))
        assert replay_seconds(sources, every(sources)).differing == ()


def test_another_model_under_the_same_name_is_told(scored, target):
    replay_seconds(scored, every(scored), wait_s=WAIT_S)
    other = f"{target}.2"
    with model(other, Reading(digest="another")):
        found = replay_seconds(replace(scored, model_target=other), every(scored))

    assert {one.outcome for one in found.differing} == {Outcome.DIFFERENT_MODEL}


def test_without_a_model_server_the_answer_says_so(scored, target):
    found = replay_seconds(replace(scored, model_target=f"{target}.none"), every(scored), wait_s=WAIT_S)

    assert {one.text for one in found.differing} == {"the model server does not answer, or has another model"}


def test_who_makes_scores_again_leaves_an_event(scored):
    replay_seconds(scored, every(scored)[:3], wait_s=WAIT_S)

    def kinds() -> list[bytes]:
        with snapshot(scored.database_url) as found:
            return [leaf.entry for leaf in found.of_case(CASE, 1000) if leaf.kind == "event"]

    until("its leaf", kinds)
    [entry] = kinds()
    assert b'"kind":"records_replayed"' in entry
    assert b'"seconds":3' in entry


def test_the_command_tells_what_came_out(scored, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("SOPOR_DATABASE_URL", scored.database_url)
    monkeypatch.setenv("SOPOR_STATE", str(tmp_path))
    monkeypatch.setenv("SOPOR_SITE", str(Path(__file__).parents[2] / "deploy" / "demo" / "sopor.toml"))

    with pytest.raises(SystemExit) as end:
        run(["audit", "replay", str(CASE), str(SECOND + 11), "--json"])

    # The demo's bundle wants more EEG than the scorer of this test had: the same window, another decision.
    said = json.loads(capsys.readouterr().out)
    assert int(end.value.code) == 7
    assert (said["ok"], said["asked"], said["equal"]) == (False, 1, 0)
    [differing] = said["differing"]
    assert (differing["what"], differing["text"]) == ("different value", "recorded as prediction of tier E, now prediction of tier D")
