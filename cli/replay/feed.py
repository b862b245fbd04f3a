"""Archived entries on their way to a Board, as the scorer took them."""

from collections.abc import Sequence

from anesthesia.errors import BadWire
from backbone.redis.streams import FROM_START, moment_of
from backbone.wire import unpack_entry
from services.depth_scorer.board import Board, Rules
from services.ledger.archive_file import UNNUMBERED, ArchivedEntry


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
