"""ADT messages: who comes to, moves between and leaves beds (HL7 v2.6 ch. 3). Pure."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from anesthesia.occupancy import Covariates
from services.hl7_listener.device_time import TO_THE_MINUTE, TO_THE_SECOND, BadTime, instant_told
from services.hl7_listener.message import UNREADABLE, BadMessage, Message, field_of
from services.hl7_listener.oru import bed_of, person_of, raw_bed

OLDEST_YEARS: Final = 120
# Zero dates of databases that stand for "not known" (seen in device feeds).
_NO_BIRTH_DATES: Final = frozenset({date(1899, 12, 30), date(1900, 1, 1)})
_DATE_DIGITS: Final = 8
# LOINC code and unit of the two measurements that a predictor uses, with their believable range in an adult or a child.
_WEIGHT: Final = ("29463-7", "kg", (0.3, 400.0))
_HEIGHT: Final = ("8302-2", "cm", (20.0, 260.0))


class EventKind(StrEnum):
    """The events that are acted on."""

    ADMIT = "A01"
    TRANSFER = "A02"
    DISCHARGE = "A03"


@dataclass(frozen=True, slots=True)
class Person:
    """Who an event is about. Never leaves the listener in clear."""

    identifier: str
    authority: str
    family: str = ""
    given: str = ""
    birth_date: date | None = None
    sex: str | None = None
    height_cm: float | None = None
    weight_kg: float | None = None

    def covariates_at(self, day: date) -> Covariates:
        """Return what a predictor may know; the age in whole years on the day."""
        return Covariates(age_years(self.birth_date, day), self.sex, self.height_cm, self.weight_kg)


@dataclass(frozen=True, slots=True)
class AdtEvent:
    """One event. Beds as sent; instants corrected by the source's offset."""

    kind: EventKind
    bed: str
    prior_bed: str
    person: Person
    at: datetime  # EVN-2 if it is told to the minute, else the message's own time
    message_at: datetime  # MSH-7 if it is told to the second, else receipt


def age_years(birth: date | None, day: date) -> int | None:
    """Return whole years on a day, at most 120; None when the birth date is not known or lies after it."""
    if birth is None or birth > day:
        return None
    before_birthday = (day.month, day.day) < (birth.month, birth.day)
    return min(day.year - birth.year - before_birthday, OLDEST_YEARS)


def birth_date_of(text: str) -> date | None:
    """Return PID-7 as a date; None for none, for part of one and for the zero dates of databases."""
    digits = text[:_DATE_DIGITS]
    if len(digits) < _DATE_DIGITS or not (digits.isascii() and digits.isdigit()):
        return None
    try:
        birth = date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError:
        return None
    return None if birth in _NO_BIRTH_DATES else birth


def event_kind_of(message_type: str) -> EventKind | None:
    """Return the event of `ADT^A01`; None for one that is not acted on."""
    _, _, trigger = message_type.partition("^")
    return EventKind(trigger) if trigger in set(EventKind) else None


def event_of(message: Message, kind: EventKind, *, zone: ZoneInfo, offset: timedelta, received_at: datetime) -> AdtEvent:
    """Return the event; BadMessage without a person, without a bed, or with a time that is none."""

    def instant(text: str, place: tuple[str, int], digits: int) -> datetime | None:
        try:
            at = instant_told(text, zone, received_at - offset, digits=digits)
            return None if at is None else at + offset
        except (BadTime, OverflowError) as fault:
            raise BadMessage(*place, "bad_time", "no timestamp") from fault

    message_at = instant(message.header.first(7), ("MSH", 7), TO_THE_SECOND) or received_at
    at = instant(field_of(message.segment("EVN") or [], 2), ("EVN", 2), TO_THE_MINUTE) or message_at
    visit = message.segment("PV1")
    prior = raw_bed(message, field_of(visit, 6)) if visit else ""
    bed = bed_of(message)
    if not bed and not prior:
        raise BadMessage("PV1", 3, "no_bed", "no bed")
    return AdtEvent(kind, bed, prior, _person(message), at, message_at)


def _person(message: Message) -> Person:
    named = person_of(message)
    if named is None:
        raise BadMessage("PID", 3, "no_identifier", "no patient identifier")
    identifier, authority = named
    if UNREADABLE in identifier + authority:
        raise BadMessage("PID", 3, "charset", "the identifier does not decode in the character set of MSH-18")
    pid = message.segment("PID") or []
    name = [*message.components(field_of(pid, 5)), ""]
    sex = field_of(pid, 8).strip().upper()[:1]
    return Person(
        identifier,
        authority,
        family=name[0],
        given=name[1],
        birth_date=birth_date_of(field_of(pid, 7)),
        sex=sex if sex in {"M", "F", "O", "U"} else None,  # table 0001
        height_cm=_measured(message, *_HEIGHT),
        weight_kg=_measured(message, *_WEIGHT),
    )


def _measured(message: Message, loinc: str, unit: str, believable: tuple[float, float]) -> float | None:
    """Return an OBX value by its LOINC code, in exactly this unit and in the believable range."""
    for fields in message.segments:
        if fields[0] != "OBX" or message.components(field_of(fields, 3))[::2][:2] != [loinc, "LN"]:
            continue
        try:
            value = float(field_of(fields, 5))
        except ValueError:
            continue
        if message.components(field_of(fields, 6))[0] == unit and believable[0] <= value <= believable[1]:
            return value
    return None
