"""The replay of recorded seconds: archived entries through the scorer's own Board, gate and model; equal or not, and in what.

It reads PostgreSQL and the input archive and asks a running model server. That somebody looked has a leaf for each case.
"""

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Final
from uuid import UUID

from anesthesia.errors import BadWire
from anesthesia.leaf import EventKind
from anesthesia.limits import Limits
from anesthesia.prediction import Prediction, Record, Refusal, RefusalReason
from backbone import bundle
from backbone.audit import Snapshot, StoredArchive, hand_in, snapshot
from backbone.redis.streams import FROM_START, moment_of, partition_of
from backbone.site import Mode, SiteFile
from backbone.supervisor.settings import CODE_ROOT
from backbone.supervisor.state import State
from backbone.vault import Seal, archive_seal
from backbone.wire import unpack_entry, unpack_record
from cli.audit_log import look
from services.depth_scorer import model_client
from services.depth_scorer.board import Board, Due, Rules
from services.depth_scorer.conflict import Conflict, says_nothing
from services.depth_scorer.verdict import Scored, Verdict, after_model, before_model
from services.ledger.archive_file import UNNUMBERED, ArchivedEntry, BadArchive, Erased, entries_of, seal_of
from services.ledger.archive_folder import reading

MODELS: Final = CODE_ROOT / "model_server" / "models"
MODEL_SOCKET: Final = "model.sock"
POINTS: Final = 1e-4  # two runs of one model on one window may differ by so much
MODEL_WITHIN_S: Final = 10.0
LOOK_EACH_S: Final = 1.0
WAIT_S: Final = 20.0  # the ledger's archive is at most half as far behind
ENTRY_ID: Final = re.compile(r"\d{1,20}-\d{1,20}")


class Outcome(StrEnum):
    """What a replay came to, in words."""

    EQUAL = "equal"
    DIFFERENT_INPUT = "different input"
    DIFFERENT_MODEL = "different model"
    DIFFERENT_VALUE = "different value"
    NOT_YET_ARCHIVED = "not yet archived"  # the ledger's next flush brings it: try again
    NOT_ARCHIVED = "not archived"
    ERASED = "erased"  # the case's key was erased: nobody can open its archive any more
    DAMAGED = "damaged"  # the case's archive, or the record, is not what was written


@dataclass(frozen=True, slots=True)
class ReplaySources:
    """Where records, archive and model are, and the rules that the scorer ran with."""

    database_url: str
    archive: Path
    keys: Path
    rules: Rules
    model: str  # name@version, asked where the record names none
    model_target: str  # gRPC target: host:port, unix:/path


@dataclass(frozen=True, slots=True)
class Replay:
    """One recorded second, made again. `text` says what differs; it holds no patient data."""

    case_id: UUID
    second: int
    outcome: Outcome
    text: str = ""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What replays came to, by case and second."""

    replays: tuple[Replay, ...]

    @property
    def asked(self) -> int:
        """How many seconds were made again."""
        return len(self.replays)

    @property
    def equal(self) -> int:
        """How many came out as recorded."""
        return sum(one.outcome is Outcome.EQUAL for one in self.replays)

    @property
    def differing(self) -> tuple[Replay, ...]:
        """Those that did not."""
        return tuple(one for one in self.replays if one.outcome is not Outcome.EQUAL)

    @property
    def pending(self) -> int:
        """How many of these the ledger has not archived yet: try again after its next flush."""
        return sum(one.outcome is Outcome.NOT_YET_ARCHIVED for one in self.replays)


def rules_of(site: SiteFile, models: Path = MODELS) -> Rules:
    """Return the rules that a scorer of this site runs with; BundleError when its model is not there."""
    manifest = bundle.read(models, site.model).manifest
    return Rules(site.thresholds, manifest.minimum_coverage_s, simulation=site.mode is Mode.SIMULATION)


def running_sources(place: State, site: SiteFile, database_url: str) -> ReplaySources:
    """Return the sources of what runs in a state folder."""
    target = f"unix:{place.socket(MODEL_SOCKET)}"
    return ReplaySources(database_url, place.archive, place.keys, rules_of(site), site.model, target)


def replay(sources: ReplaySources, count: int, random: Random, *, wait_s: float = WAIT_S) -> Replayed:
    """Make so many Predictions again, drawn over all that are recorded; fewer when there are not so many.

    Waits at most so long for the ledger's next flush, which brings the newest seconds to the archive. DatabaseDown, BadKey; a model
    server that does not answer makes a difference of each second that needs it.
    """
    with snapshot(sources.database_url) as found:
        drawn = _drawn(found, count, random)
    return replay_seconds(sources, drawn, wait_s=wait_s)


def replay_seconds(sources: ReplaySources, seconds: Iterable[tuple[UUID, int]], *, wait_s: float = 0.0) -> Replayed:
    """Make these recorded seconds again, as `replay` does; those without a record are left out."""
    wanted: defaultdict[UUID, set[int]] = defaultdict(set)
    for case_id, second in seconds:
        wanted[case_id].add(second)
    _leave(sources, wanted)
    deadline_s = time.monotonic() + wait_s
    done: dict[tuple[UUID, int], Replay] = {}
    while True:
        found = asyncio.run(_replayed(sources, wanted))
        done |= {(one.case_id, one.second): one for one in found}
        wanted = defaultdict(set)
        for one in found:
            if one.outcome is Outcome.NOT_YET_ARCHIVED:
                wanted[one.case_id].add(one.second)
        if not wanted or time.monotonic() >= deadline_s:
            return Replayed(tuple(done[place] for place in sorted(done)))
        time.sleep(LOOK_EACH_S)


def _drawn(found: Snapshot, count: int, random: Random) -> list[tuple[UUID, int]]:
    """Draw Predictions, each as likely as any other."""
    cases = found.predicted()
    numbers = sorted(random.sample(range(total := sum(n for _, n in cases)), min(count, total)))
    drawn, before = [], 0
    for case_id, size in cases:
        here = [number - before for number in numbers if before <= number < before + size]
        seconds = found.predictions_of(case_id) if here else []
        drawn += [(case_id, seconds[number]) for number in here]
        before += size
    return drawn


def _leave(sources: ReplaySources, wanted: Mapping[UUID, set[int]]) -> None:
    """Leave an event for each case before anything of it is opened."""
    for case_id, seconds in wanted.items():
        hand_in(sources.database_url, look(EventKind.RECORDS_REPLAYED, case_id, seconds=len(seconds)))


async def _replayed(sources: ReplaySources, wanted: Mapping[UUID, set[int]]) -> list[Replay]:
    seal = archive_seal(sources.keys)
    found: list[Replay] = []
    async with AsyncExitStack() as stack:
        judge = Judge(sources, stack)
        with snapshot(sources.database_url) as log:
            positions = log.archive_positions()
            for case_id, seconds in wanted.items():
                course = Course(log, case_id, seconds)
                absent = {record.of.second: course.absent(record, positions) for record in course.records}
                found += [*course.unreadable, *(one for one in absent.values() if one is not None)]
                there = [record for record in course.records if absent[record.of.second] is None]
                for record, due in _remade(sources, seal, course, there):
                    found.append(due if isinstance(due, Replay) else await judge.judged(record, due))
    return found


def _told(record: Record, outcome: Outcome, text: str = "") -> Replay:
    return Replay(record.of.case_id, record.of.second, outcome, text)


class Course:
    """What the database holds of a case: its archive's row, and the records that are wanted, with the disagreement before each."""

    def __init__(self, log: Snapshot, case_id: UUID, seconds: set[int]) -> None:
        """Read it."""
        self.archive = log.archive_of(case_id)
        self._payloads = dict(log.payloads(case_id, max(seconds)))
        self.records: list[Record] = []
        self.unreadable: list[Replay] = []
        for second in sorted(seconds & self._payloads.keys()):
            record = _record(self._payloads[second])
            if record is None:
                self.unreadable.append(Replay(case_id, second, Outcome.DAMAGED, "the record's bytes do not decode"))
            else:
                self.records.append(record)

    def absent(self, record: Record, positions: Mapping[int, str]) -> Replay | None:
        """Return what to say of a record whose entries the archive does not hold; None when it holds them."""
        until, position = record.evidence.frames_until, positions.get(partition_of(record.of.bed), FROM_START)
        if ENTRY_ID.fullmatch(until) is None:
            return _told(record, Outcome.NOT_ARCHIVED, "the record names no place in the stream")
        is_open = self.archive is None or self.archive.closed_at is None
        if is_open and moment_of(position) < moment_of(until):
            return _told(record, Outcome.NOT_YET_ARCHIVED, "the ledger has not come so far; try again")
        return _told(record, Outcome.NOT_ARCHIVED, "the case has no archive") if self.archive is None else None

    def conflicts(self, limits: Limits) -> dict[int, Conflict]:
        """Return the state of disagreement before each second that has a record."""
        before, state = {}, Conflict()
        for second, payload in self._payloads.items():
            before[second] = state
            record = _record(payload)
            state = state if record is None else state.after_record(record, limits)
        return before


def _record(payload: bytes) -> Record | None:
    try:
        return unpack_record(payload)
    except BadWire:
        return None


class Feed:
    """A Board that takes archived entries as the scorer took them from the stream.

    Where entries come a second time, Redis had lost the stream's end and it was sent again: from there on the scorer had, of what it
    took before, only what the server still had.
    """

    def __init__(self, rules: Rules, entries: Sequence[ArchivedEntry]) -> None:
        """Start before the first entry."""
        self._rules, self._entries, self._next = rules, entries, 0
        self._taken: list[ArchivedEntry] = []
        self._newest: dict[str, tuple[int, int]] = {}
        self.board = Board(rules)
        self.until = FROM_START

    def go_on(self, until: str) -> None:
        """Take the entries up to an id; it does not fall."""
        self.until = until
        while self._next < len(self._entries) and moment_of(self._entries[self._next].entry_id) <= moment_of(until):
            self._take(self._entries[self._next])
            self._next += 1

    def _take(self, entry: ArchivedEntry) -> None:
        place = (entry.sequence, entry.place)
        if entry.sequence != UNNUMBERED:
            again = place <= self._newest.get(entry.cursor, (UNNUMBERED, 0))
            self._newest[entry.cursor] = place
            if again:
                self._lose(entry.cursor, place)
        self._taken.append(entry)
        _into(self.board, entry)

    def _lose(self, cursor: str, place: tuple[int, int]) -> None:
        self._taken = [one for one in self._taken if one.cursor != cursor or (one.sequence, one.place) < place]
        self.board = Board(self._rules)
        for entry in self._taken:
            _into(self.board, entry)


def _into(board: Board, entry: ArchivedEntry) -> None:
    try:
        board.take(unpack_entry(entry.payload))
    except BadWire:
        return  # the scorer could not take it either


def _archived(sources: ReplaySources, seal: Seal, archive: StoredArchive) -> list[ArchivedEntry]:
    with reading(sources.archive, archive.case_id) as file:
        return list(entries_of(file, archive, seal_of(seal, archive)))


def _remade(sources: ReplaySources, seal: Seal, course: Course, records: Sequence[Record]) -> Iterator[tuple[Record, Due | Replay]]:
    """Yield each record with its second as it was due, or with why it cannot be made again."""
    if course.archive is None or not records:
        return
    try:
        entries = _archived(sources, seal, course.archive)
    except BadArchive as fault:
        outcome = Outcome.ERASED if isinstance(fault, Erased) else Outcome.DAMAGED
        yield from ((record, _told(record, outcome, str(fault))) for record in records)
        return
    conflicts = course.conflicts(sources.rules.limits)
    feed = Feed(sources.rules, entries)
    for record in records:
        of, until = record.of, record.evidence.frames_until
        if moment_of(until) < moment_of(feed.until):
            feed = Feed(sources.rules, entries)
        feed.go_on(until)
        due = feed.board.again(of.case_id, of.second, conflicts[of.second])
        yield record, due or _told(record, Outcome.DIFFERENT_INPUT, "with the archived entries no such second is expected")


class Judge:
    """Decides each second anew and compares."""

    def __init__(self, sources: ReplaySources, stack: AsyncExitStack) -> None:
        """Ask the models through connections that the stack closes."""
        self._sources, self._stack = sources, stack
        self._clients: dict[str, model_client.ModelClient] = {}

    async def judged(self, record: Record, due: Due) -> Replay:
        """Return what the replay of one second came to."""
        limits = self._sources.rules.limits
        if due.window.input_hash != record.evidence.input_hash:
            return _told(record, Outcome.DIFFERENT_INPUT, "the archived entries give another window")
        verdict = before_model(due, limits)
        if verdict is None:
            if says_nothing(record):
                return _told(record, Outcome.EQUAL, "the model had not answered; the window is the same")
            answer = await (await self._client(record)).score(due.window)
            fault = _model_fault(record, answer)
            if fault:
                return _told(record, Outcome.DIFFERENT_MODEL, fault)
            verdict = after_model(due, answer, limits)
        difference = difference_of(record, verdict)
        return _told(record, Outcome.DIFFERENT_VALUE if difference else Outcome.EQUAL, difference)

    async def _client(self, record: Record) -> model_client.ModelClient:
        name = self._sources.model if record.model is None else record.model.name
        if name not in self._clients:
            connected = model_client.connect(self._sources.model_target, name, MODEL_WITHIN_S)
            self._clients[name] = await self._stack.enter_async_context(connected)
        return self._clients[name]


def _model_fault(record: Record, answer: Scored | RefusalReason) -> str:
    if isinstance(answer, RefusalReason):
        return "the model server does not answer, or has another model"
    if record.model is not None and answer.model.digest != record.model.digest:
        return "the model of this name has other bytes than the one of the record"
    return ""


def _came_to(record: Record) -> str:
    match record:
        case Prediction():
            return f"prediction of tier {record.tier}"
        case Refusal():
            return f"refusal {record.reason}"


def _numbers(record: Record) -> tuple[float, ...]:
    match record:
        case Prediction():
            return record.value, record.low, record.high
        case Refusal():
            return () if record.withheld_value is None else (record.withheld_value,)


def difference_of(record: Record, verdict: Verdict) -> str:
    """Return in words how a record differs from the one made again; empty when it does not."""
    again, _ = verdict
    if _came_to(record) != _came_to(again):
        return f"recorded as {_came_to(record)}, now {_came_to(again)}"
    then, now = _numbers(record), _numbers(again)
    apart = max((abs(a - b) for a, b in zip(then, now, strict=False)), default=0.0)
    if len(then) != len(now) or apart > POINTS:
        return f"value or interval differs by {apart:.4f} points"
    return ""
