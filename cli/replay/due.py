"""The recorded seconds of a case as they were due, from its archive."""

from collections.abc import Iterator, Sequence

from anesthesia.prediction import Record
from backbone.audit import StoredArchive
from backbone.redis.streams import moment_of
from backbone.vault import Seal
from cli.replay.course import Course
from cli.replay.feed import Feed
from cli.replay.outcome import Outcome, Replay, replay_of
from cli.replay.sources import ReplaySources
from services.depth_scorer.board import Due
from services.ledger.archive_file import ArchivedEntry, BadArchive, Erased, entries_of, seal_of
from services.ledger.archive_folder import reading


def _archived(sources: ReplaySources, seal: Seal, archive: StoredArchive) -> list[ArchivedEntry]:
    with reading(sources.archive, archive.case_id) as file:
        return list(entries_of(file, archive, seal_of(seal, archive)))


def due_again(sources: ReplaySources, seal: Seal, course: Course, records: Sequence[Record]) -> Iterator[tuple[Record, Due | Replay]]:
    """Yield each record with its second as it was due, or with why it cannot be made again."""
    if course.archive is None or not records:
        return
    try:
        entries = _archived(sources, seal, course.archive)
    except BadArchive as fault:
        outcome = Outcome.ERASED if isinstance(fault, Erased) else Outcome.DAMAGED
        yield from ((record, replay_of(record, outcome, str(fault))) for record in records)
        return
    conflicts = course.conflicts(sources.rules.limits)
    feed = Feed(sources.rules, entries)
    for record in records:
        of, until = record.of, record.evidence.frames_until
        if moment_of(until) < moment_of(feed.until):
            feed = Feed(sources.rules, entries)
        feed.go_on(until)
        due = feed.board.again(of.case_id, of.second, conflicts[of.second])
        yield record, due or replay_of(record, Outcome.DIFFERENT_INPUT, "with the archived entries no such second is expected")
