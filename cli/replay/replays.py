"""Replays of recorded seconds, drawn or named: first the event that tells of them, then case by case, as far as the archive has come."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from random import Random
from typing import Final
from uuid import UUID

from anesthesia.leaf import EventKind
from backbone.audit import Snapshot, hand_in, snapshot
from backbone.vault import archive_seal
from cli.audit_log import look
from cli.replay.course import Course
from cli.replay.due import due_again
from cli.replay.judge import Judge
from cli.replay.outcome import Outcome, Replay, Replayed
from cli.replay.sources import ReplaySources

LOOK_EACH_S: Final = 1.0
WAIT_S: Final = 20.0  # the ledger's archive is at most half as far behind


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
                for record, due in due_again(sources, seal, course, there):
                    found.append(due if isinstance(due, Replay) else await judge.judged(record, due))
    return found
