"""What another mapping would make of messages that were taken already: how many readings come, go and change, by Signal. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import zip_longest

from anesthesia.reading import Numeric, Reading
from backbone.site import Source
from services.hl7_listener.code_set import CodeSet
from services.hl7_listener.message import BadMessage, charset_of, header_of, message_of
from services.hl7_listener.oru import Sender, readings_of


@dataclass(frozen=True, slots=True)
class Heard:
    """A message as the journal has it, with the offset by which its times were moved."""

    source: Source
    content: bytes
    received_at: datetime
    offset: timedelta


@dataclass(slots=True)
class Change:
    """Readings of one Signal: only by the new mapping, only by the old one, by both with another value, and by both alike."""

    gained: int = 0
    lost: int = 0
    changed: int = 0
    same: int = 0


def changes_of(messages: Iterable[Heard], before: CodeSet, after: CodeSet) -> dict[str, Change]:
    """Return, for each Signal that one of the two mappings reads, what the other makes of it."""
    changes: dict[str, Change] = defaultdict(Change)
    for heard in messages:
        old, new = _values(heard, before), _values(heard, after)
        for signal, at in old.keys() | new.keys():
            for one, other in zip_longest(old.get((signal, at), ()), new.get((signal, at), ())):
                _count(changes[signal], one, other)
    return dict(sorted(changes.items()))


def _count(change: Change, old: object, new: object) -> None:
    if old is None:
        change.gained += 1
    elif new is None:
        change.lost += 1
    elif old != new:
        change.changed += 1
    else:
        change.same += 1


def _values(heard: Heard, codes: CodeSet) -> dict[tuple[str, datetime], list[object]]:
    """Return what a message says by Signal and instant."""
    found: dict[tuple[str, datetime], list[object]] = defaultdict(list)
    for reading in _readings(heard, codes):
        if isinstance(reading, Numeric):
            found[reading.signal, reading.observed_at].append((reading.value, reading.status))
        else:
            samples = (reading.rate_hz, reading.scale, reading.samples.tobytes(), reading.status)
            found[reading.signal, reading.start].append(samples)
    return found


def _readings(heard: Heard, codes: CodeSet) -> Iterator[Reading]:
    try:
        header = header_of(heard.content)
        message = message_of(heard.content, header, charset_of(header, heard.source.charset))
        yield from readings_of(message, Sender(codes, heard.source.time_zone, heard.offset, heard.received_at)).readings
    except BadMessage:
        return  # it had no effect, and has none by another mapping
