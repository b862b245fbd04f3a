"""The scorer on a real Valkey, with a scripted model server: one record a second, whatever happens."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from anesthesia.limits import Limits
from anesthesia.prediction import Prediction, Refusal, RefusalReason, Tier
from anesthesia.reading import Frame
from backbone.clock import SystemClock
from backbone.lifecycle import ended
from backbone.redis.streams import connect, key, partition_of
from backbone.wire import pack_entry, unpack_record
from services.depth_scorer import model_client
from services.depth_scorer.board import Rules
from services.depth_scorer.scorer import score_forever
from tests.beds import BED, SECOND, at, eeg, frame, numeric, occupancy
from tests.fakes.model_peer import ModelPeer, serving

RULES = Rules(Limits(), minimum_coverage_s=2, simulation=True)
PARTITION = partition_of(BED)


class ShiftedClock(SystemClock):
    """The machine's clock, moved so that START is `ago_s` before now at the beginning of the test."""

    def __init__(self, ago_s: float) -> None:
        self._shift = datetime.fromtimestamp(SECOND, UTC) + timedelta(seconds=ago_s) - datetime.now(UTC)

    def now(self) -> datetime:
        return super().now() + self._shift


class StoppedClock(SystemClock):
    """Shows one instant, in seconds after START: what is not due by then never is."""

    def __init__(self, after_s: float) -> None:
        self._instant = at(after_s)

    def now(self) -> datetime:
        return self._instant


class Theatre:
    """Appends what a listener would append."""

    def __init__(self, streams) -> None:
        self._streams, self._sequence = streams, 0

    async def send(self, *entries) -> None:
        for entry in entries:
            self._sequence += 1
            case = None if isinstance(entry, Frame) else entry.case_id
            await self._streams.append(PARTITION, "l:g", self._sequence, [(case, pack_entry(entry))])

    async def empty(self) -> None:
        await self._streams._client.flushall()

    async def records(self, count: int, within_s: float = 8) -> list[Prediction | Refusal]:
        async with asyncio.timeout(within_s):
            while True:
                entries = await self._streams.read({key(PARTITION, "predictions"): "0-0"}, block_ms=0)
                if len(entries) >= count:
                    return [unpack_record(entry.fields[b"r"]) for entry in entries]
                await asyncio.sleep(0.05)


@pytest.fixture
async def theatre(redis_url):
    async with connect(redis_url) as streams:
        await streams.prepare()
        yield Theatre(streams)


@asynccontextmanager
async def scoring(redis_url: str, target: str, clock, deadline_s: float = 1.0):
    async with connect(redis_url) as streams, model_client.connect(target, "depth-eeg@0.1.0", deadline_s) as model:
        work = asyncio.create_task(score_forever(streams, model, clock, RULES))
        try:
            yield
        finally:
            await ended([work])


def seconds(records) -> list[int]:
    return [record.of.second - SECOND for record in records]


@pytest.fixture
def target(tmp_path) -> str:
    return f"unix:{tmp_path}/model.sock"


async def test_every_second_is_scored_or_refused_in_order(theatre, redis_url, target):
    async with serving(ModelPeer(), target), scoring(redis_url, target, ShiftedClock(6.2)):
        await theatre.send(occupancy(), *(frame(eeg(s), received=s + 1.02) for s in range(6)))

        records = await theatre.records(6)

    assert seconds(records) == list(range(6))
    assert [isinstance(record, Prediction) for record in records] == [False, True, True, True, True, True]
    assert records[0].reason is RefusalReason.NO_EEG


async def test_without_a_model_server_every_second_is_refused_and_scores_come_back_with_it(theatre, redis_url, target):
    async with scoring(redis_url, target, ShiftedClock(4.2)):
        await theatre.send(occupancy(), *(frame(eeg(s), received=s + 1.02) for s in range(4)))
        before = await theatre.records(4)
        async with serving(ModelPeer(), target):
            await asyncio.sleep(2.5)
            await theatre.send(*(frame(eeg(s), received=s + 1.02) for s in range(4, 7)))
            after = await theatre.records(7)

    assert {record.reason for record in before[1:]} == {RefusalReason.MODEL_UNAVAILABLE}
    assert isinstance(after[-1], Prediction)


async def test_a_model_that_answers_too_late_is_refused_as_late(theatre, redis_url, target):
    async with serving(ModelPeer(delay_s=5), target), scoring(redis_url, target, ShiftedClock(4.2), deadline_s=0.2):
        await theatre.send(occupancy(), *(frame(eeg(s), received=s + 1.02) for s in range(3)))
        records = await theatre.records(3)

    assert [record.reason for record in records[1:]] == [RefusalReason.MODEL_LATE] * 2


async def test_a_second_scorer_goes_on_where_the_first_was_killed(theatre, redis_url, target):
    clock = ShiftedClock(4.2)
    async with serving(ModelPeer(), target):
        async with scoring(redis_url, target, clock):
            await theatre.send(occupancy(), *(frame(eeg(s), received=s + 1.02) for s in range(4)))
            await theatre.records(4)
        await theatre.send(*(frame(eeg(s), received=s + 1.02) for s in range(4, 8)))
        async with scoring(redis_url, target, clock):
            records = await theatre.records(8)

    assert seconds(records)[:8] == list(range(8))
    assert all(isinstance(record, Prediction) and record.tier is Tier.E for record in records[1:8])


async def test_scoring_goes_on_after_the_server_was_away(theatre, redis_url, target, valkey):
    async with serving(ModelPeer(), target), scoring(redis_url, target, ShiftedClock(4.2)):
        await theatre.send(occupancy(), *(frame(eeg(s), received=s + 1.02) for s in range(3)))
        await theatre.records(3)
        valkey.stop()
        await asyncio.sleep(0.5)
        valkey.start()
        await theatre.send(*(frame(eeg(s), received=s + 1.02) for s in range(3, 6)))
        records = await theatre.records(6)

    assert seconds(records)[:6] == list(range(6))


async def test_the_window_the_model_sees_is_the_window_of_the_record(theatre, redis_url, target):
    peer = ModelPeer()
    async with serving(peer, target), scoring(redis_url, target, ShiftedClock(4.2)):
        await theatre.send(occupancy(), *(frame(eeg(s), numeric("bis", 46, s), received=s + 1.02) for s in range(3)))
        records = await theatre.records(3)

    assert [request.input_hash for request in peer.requests] == [record.evidence.input_hash for record in records[1:3]]
    assert peer.requests[0].samples == 7680
    assert sum(peer.requests[0].mask) == 256


async def test_an_entry_that_does_not_decode_stops_nothing(theatre, redis_url, target):
    async with serving(ModelPeer(), target), scoring(redis_url, target, ShiftedClock(4.2)):
        await theatre._streams.append(PARTITION, "other:g", 1, [(None, b"\xff\xff")])
        await theatre.send(occupancy(), *(frame(eeg(s), received=s + 1.02) for s in range(3)))

        assert seconds(await theatre.records(3))[:3] == [0, 1, 2]


async def disagreeing(theatre, redis_url, target, *parts: range) -> list[Prediction | Refusal]:
    """Return the records of a case whose BIS is far from the model's value; between its parts the scorer is killed."""
    await theatre.send(occupancy())
    for part in parts:
        await theatre.send(*(frame(eeg(s), numeric("bis", 80, s), received=s + 1.02) for s in part))
        async with scoring(redis_url, target, StoppedClock(part.stop + 1.2)):
            records = await theatre.records(part.stop, within_s=30)
    return records


async def test_a_restart_in_the_midst_of_a_disagreement_changes_no_record(theatre, redis_url, target):
    async with serving(ModelPeer(value=47.0), target):
        whole = await disagreeing(theatre, redis_url, target, range(75))
        await theatre.empty()
        restarted = await disagreeing(theatre, redis_url, target, range(30), range(30, 66), range(66, 75))

    reasons = [record.reason if isinstance(record, Refusal) else "" for record in whole]
    assert reasons.index(RefusalReason.CONFLICT_WITH_DEVICE) == 60
    assert [record.evidence.input_hash for record in restarted] == [record.evidence.input_hash for record in whole]
    assert [record.reason if isinstance(record, Refusal) else "" for record in restarted] == reasons
