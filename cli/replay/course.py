"""The course of a case as recorded: the records that are wanted, and what the seconds before them left."""

import re
from collections.abc import Mapping
from typing import Final
from uuid import UUID

from anesthesia.errors import BadWire
from anesthesia.limits import Limits
from anesthesia.prediction import Record
from backbone.audit import Snapshot
from backbone.redis.streams import FROM_START, moment_of, partition_of
from backbone.wire import unpack_record
from cli.replay.outcome import Outcome, Replay, replay_of
from services.depth_scorer.conflict import Conflict

ENTRY_ID: Final = re.compile(r"\d{1,20}-\d{1,20}")


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
            return replay_of(record, Outcome.NOT_ARCHIVED, "the record names no place in the stream")
        is_open = self.archive is None or self.archive.closed_at is None
        if is_open and moment_of(position) < moment_of(until):
            return replay_of(record, Outcome.NOT_YET_ARCHIVED, "the ledger has not come so far; try again")
        return replay_of(record, Outcome.NOT_ARCHIVED, "the case has no archive") if self.archive is None else None

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
