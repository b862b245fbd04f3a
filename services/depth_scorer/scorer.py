"""The scorer's loop: read the streams, decide what is due, ask the model, record. State lives in the streams; a restart replays them."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from anesthesia.case import instant_of
from anesthesia.errors import BadWire
from anesthesia.occupancy import Occupancy
from anesthesia.prediction import Prediction, Record
from anesthesia.reading import Frame
from backbone.clock import Clock
from backbone.redis.streams import PARTITIONS, Entry, RedisDown, Streams, key, partition_of
from backbone.telemetry import counter, histogram, logger
from backbone.wire import pack_record, unpack_entry, unpack_record
from services.depth_scorer.bed import KEPT_S
from services.depth_scorer.board import Board, Due, Rules
from services.depth_scorer.conflict import Conflict, conflict_after, says_nothing
from services.depth_scorer.model_client import ModelClient
from services.depth_scorer.verdict import Verdict, after_model, before_model

RECORDS = counter("records", "Expected seconds recorded", "outcome", "reason")
UNREADABLE = counter("unreadable_entries", "Stream entries that did not decode")
LATENCY = histogram("evidence_to_record_seconds", "Journal receipt of the last evidence to record")

LONGEST_WAIT_S = 0.2
# Slow numerics (NIBP) stay fresh for nine minutes; the rest is for the server's clock, which names stream entries.
REPLAY_MARGIN_S = 600
FORGOTTEN_AFTER = timedelta(hours=24)
BACKOFF_S = (0.2, 5.0)
NO_CASE = b"00000000-0000-0000-0000-000000000000"


class Scorer:
    """One run on one set of streams; `run` ends only by cancellation or RedisDown."""

    def __init__(self, streams: Streams, model: ModelClient, clock: Clock, rules: Rules) -> None:
        """Start with an empty board; `restore` fills it."""
        self._streams, self._model, self._clock, self._rules = streams, model, clock, rules
        self._board = Board(rules)
        self._after: dict[str, str] = {}

    async def restore(self) -> None:
        """Rebuild the board: newest Occupancies, last recorded seconds, then the frames their next windows need."""
        now = self._clock.now()
        for partition in range(PARTITIONS):
            recorded = await self._streams.last_recorded(partition)
            known = [one for one in await self._known(partition) if not await self._forgotten(partition, one, now)]
            conflicts = await self._conflicts(partition, {one.case_id: recorded[one.case_id] for one in known if _owed(one, recorded)})
            for case_id, second in recorded.items():
                self._board.resume(case_id, second, conflicts.get(case_id))
            needed = now
            for occupancy in known:
                last = recorded.get(occupancy.case_id)
                needed = min(needed, occupancy.start if last is None else instant_of(last))
                self._board.take(occupancy)
            start = needed - timedelta(seconds=KEPT_S + REPLAY_MARGIN_S)
            self._after[key(partition, "frames")] = f"{max(0, int(start.timestamp() * 1000))}-0"
        while entries := await self._streams.read(self._after, block_ms=0):
            self._take(entries)
        logger().info("scorer_restored", count=self._board.open_cases())

    async def run(self) -> None:
        """Score until cancelled."""
        while True:
            wait_s = min(LONGEST_WAIT_S, self._board.wakes_in_s(self._clock.now()))
            self._take(await self._streams.read(self._after, block_ms=max(1, int(wait_s * 1000))))
            while due := self._board.due(self._clock.now()):
                await self._record(due)
            self._board.finished(self._clock.now())

    async def _known(self, partition: int) -> list[Occupancy]:
        entries = [self._decoded(payload) for payload in await self._streams.occupancies(partition)]
        return [entry for entry in entries if isinstance(entry, Occupancy)]

    async def _conflicts(self, partition: int, last: Mapping[UUID, int]) -> dict[UUID, Conflict]:
        """Return the state of disagreement after the last second of each case, from its newest records.

        Where the stream does not hold enough of them, a disagreement counts from the oldest one it holds.
        """
        limits = self._rules.limits
        newest: dict[UUID, list[Record]] = {case_id: [] for case_id in last}
        open_ends = set(last)
        async for entry in self._streams.backwards("predictions", partition):
            if not open_ends:
                break
            case_id = UUID(entry.fields.get(b"c", NO_CASE).decode())
            if case_id not in open_ends:
                continue
            try:
                record = unpack_record(entry.fields[b"r"])
            except BadWire:
                continue  # the ledger keeps it and says so
            newest[case_id].append(record)
            if record.of.second <= last[case_id] - limits.conflict_s and not says_nothing(record):
                open_ends.remove(case_id)
        return {case_id: conflict_after(reversed(records), limits) for case_id, records in newest.items()}

    async def _forgotten(self, partition: int, occupancy: Occupancy, now: datetime) -> bool:
        if occupancy.end is None or now - occupancy.end < FORGOTTEN_AFTER:
            return False
        await self._streams.forget_case(partition, occupancy.case_id)
        return True

    def _take(self, entries: list[Entry]) -> None:
        for entry in entries:
            self._after[entry.key] = entry.entry_id
            decoded = self._decoded(entry.fields[b"f"])
            if decoded is not None:
                self._board.take(decoded)

    def _decoded(self, payload: bytes) -> Frame | Occupancy | None:
        try:
            return unpack_entry(payload)
        except BadWire as fault:
            UNREADABLE.inc()
            logger().error("entry_unreadable", reason=str(fault))
            return None

    async def _record(self, due: list[Due]) -> None:
        cut = [self._with_cut(one) for one in due]
        verdicts = await asyncio.gather(*(self._verdict(one) for one in cut))
        for one, verdict in zip(cut, verdicts, strict=True):
            await self._write(one, verdict)

    def _with_cut(self, due: Due) -> Due:
        """Return the due second with the position in its partition up to which entries were taken: what makes it repeatable."""
        taken = self._after[key(partition_of(due.of.bed), "frames")]
        return replace(due, evidence=replace(due.evidence, frames_until=taken))

    async def _verdict(self, due: Due) -> Verdict:
        limits = self._rules.limits
        return before_model(due, limits) or after_model(due, await self._model.score(due.window), limits)

    async def _write(self, due: Due, verdict: Verdict) -> None:
        record, conflict = verdict
        of = due.of
        new = await self._streams.record(partition_of(of.bed), of.case_id, of.second, pack_record(record))
        self._board.recorded(due, conflict)
        if not new:
            return
        outcome, reason = (record.tier, "") if isinstance(record, Prediction) else ("refused", record.reason)
        RECORDS.labels(outcome, reason).inc()
        if record.evidence.complete_at is not None:
            LATENCY.observe((self._clock.now() - record.evidence.complete_at).total_seconds())


def _owed(occupancy: Occupancy, recorded: Mapping[UUID, int]) -> bool:
    """Tell whether a case is begun and not recorded to its end."""
    last = recorded.get(occupancy.case_id)
    return last is not None and (occupancy.end is None or last + 2 <= occupancy.end.timestamp())


async def score_forever(streams: Streams, model: ModelClient, clock: Clock, rules: Rules) -> None:
    """Score until cancelled; when Redis is away, wait and start again from what the streams hold."""
    backoff_s, longest_s = BACKOFF_S
    wait_s = backoff_s
    while True:
        try:
            await streams.prepare()
            scorer = Scorer(streams, model, clock, rules)
            await scorer.restore()
            wait_s = backoff_s
            await scorer.run()
        except RedisDown as fault:
            logger().warning("redis_down", reason=str(fault), backoff_s=wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(longest_s, wait_s * 2)
