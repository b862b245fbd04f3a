"""What a message changes: Frames and Occupancies with their partitions. Reads ORU and ADT, moves the board, learns the clocks.

Holds the state of one listener, and no connection: the intake journals what comes out of here.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from anesthesia.occupancy import Occupancy
from anesthesia.reading import Bed, Frame, Numeric, Origin, Reading, Status, TimeSource, Waveform
from backbone.redis.streams import partition_of
from backbone.site import SiteFile, Source
from backbone.vault import Vault
from backbone.wire import pack_entry
from services.hl7_listener.adt import AdtEvent, EventKind, Person, event_kind_of, event_of
from services.hl7_listener.board import BedRules, Board, Patient, When
from services.hl7_listener.code_set import CodeSet
from services.hl7_listener.device_time import TO_THE_SECOND, BadTime, Clocks, Reckoning, instant_told
from services.hl7_listener.kept import BOARD, CLOCK, beds_of, clocks_of, kept_bed, kept_clock
from services.hl7_listener.message import BadMessage, Header, Kind, Message, kind_of
from services.hl7_listener.oru import Report, Sender, Unmapped, readings_of
from services.hl7_listener.record import Effect, Kept, State

IDENTITY: Final = "identity"  # the purpose bound to a sealed identity


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message of a known source."""

    source: Source
    message: Message
    received_at: datetime
    origin: Origin

    @property
    def header(self) -> Header:
        """Its MSH."""
        return self.message.header

    @property
    def simulated(self) -> bool:
        """Tell whether it speaks of no real patient."""
        return self.source.simulated or self.header.trial


@dataclass(frozen=True, slots=True)
class Consequence:
    """What a message changes, and what the journal says of it."""

    state: State
    effects: tuple[Effect, ...] = ()
    unmapped: tuple[Unmapped, ...] = ()
    bed: str = ""
    pseudonym: str = ""
    mapping_digest: str = ""
    clock_offset_s: float = 0.0
    code: str = ""
    reason: str = ""


def _effect(entry: Frame | Occupancy) -> Effect:
    case_id = entry.case_id if isinstance(entry, Occupancy) else None
    return Effect(partition_of(entry.bed), case_id, pack_entry(entry))


def _lives(reading: Reading) -> bool:
    """Tell whether a reading shows a patient on the monitor now. An episodic value with its own time may be old."""
    if reading.time_source is TimeSource.OBX_14:
        return False
    return isinstance(reading, Waveform) or reading.status in {Status.VALID, Status.QUESTIONABLE}


def _span(readings: Iterable[Reading]) -> tuple[datetime, datetime] | None:
    """Return the first and the last instant of live data, or None when there is none."""
    times = [reading.observed_at if isinstance(reading, Numeric) else reading.start for reading in readings if _lives(reading)]
    return (min(times), max(times)) if times else None


class Consequences:
    """The board and the clocks of one listener, and what messages do to them."""

    def __init__(self, site: SiteFile, codes: Mapping[str, CodeSet], vault: Vault, kept: Mapping[str, Mapping[str, str]]) -> None:
        """Begin with what the journal kept; `codes` holds the code set of each mapping name."""
        self._site, self._codes, self._vault = site, dict(codes), vault
        rules = {Bed(site.site, bed.name): BedRules(bed.theatre, bed.adult_only) for bed in site.bed}
        self._board = Board(rules, beds_of(site.site, kept[BOARD]))
        segments = clocks_of(kept[CLOCK])
        self._clocks, self._kept_clocks = Clocks(segments), dict(segments)

    def use(self, mapping: str, codes: CodeSet) -> None:
        """Read the messages from now on with another code set."""
        self._codes[mapping] = codes

    def of(self, arrival: Arrival) -> Consequence:
        """Return what a message changes; BadMessage when its sender must correct it."""
        match kind_of(arrival.header):
            case Kind.EVENT:
                return self._of_adt(arrival)
            case Kind.OBSERVATION:
                return self._of_oru(arrival)
            case Kind.OTHER_OBSERVATION:
                return Consequence(State.NOT_ACTED_ON, code="not_acted_on", reason="MSH-9: an observation of a kind that is not scored")

    def of_time(self, now: datetime) -> tuple[Effect, ...]:
        """Return what time alone changes: Occupancies that end in silence."""
        return tuple(_effect(occupancy) for occupancy in self._board.tick(now))

    def kept(self, source: str) -> tuple[Kept, ...]:
        """Return what the journal must keep with the message, once."""
        beds = [kept_bed(bed, state) for bed, state in self._board.kept().items()]
        segment = self._clocks.of(source).segment if source else None
        if segment is None or segment == self._kept_clocks.get(source):
            return tuple(beds)
        self._kept_clocks[source] = segment
        return (*beds, kept_clock(source, segment))

    # ---- observations ----------------------------------------------------------------------------------------------------

    def _of_oru(self, arrival: Arrival) -> Consequence:
        source = arrival.source
        if source.mapping is None:
            raise BadMessage("MSH", 3, "wrong_kind", "observations of a source that the site file calls adt")
        codes = self._codes[source.mapping]
        reckoning = self._reckon(arrival)
        report = readings_of(arrival.message, Sender(codes, source.time_zone, reckoning.offset, arrival.received_at))
        bed = self._bed(report.bed)
        told = Consequence(
            State.ACCEPTED,
            unmapped=report.unmapped,
            pseudonym=self._pseudonym_of(report, bed),
            bed=bed.name if bed else "",
            mapping_digest=codes.digest,
            clock_offset_s=reckoning.offset_s,
        )
        if not reckoning.trusted:
            return _in_doubt(told)
        if bed is None:
            return replace(told, state=State.UNROUTED, code="unknown_bed", reason="PV1-3: no bed of the site file; add it as an alias")
        entries: list[Frame | Occupancy] = [*self._seen(arrival, bed, report)]
        if report.readings:
            entries.append(_frame(arrival, bed, report, told))
        return replace(told, effects=tuple(_effect(entry) for entry in entries))

    def _seen(self, arrival: Arrival, bed: Bed, report: Report) -> list[Occupancy]:
        """Tell the board of live data: of monitors only, a pump may run beside an empty bed."""
        span = _span(report.readings) if arrival.source.kind == "monitor" else None
        return self._board.frame_seen(bed, *span, simulated=arrival.simulated) if span else []

    def _pseudonym_of(self, report: Report, bed: Bed | None) -> str:
        """Return the pseudonym of the person that the message names, else of the one on the board."""
        if report.person is not None:
            identifier, authority = report.person
            return self._vault.pseudonyms.of(self._site.site, authority, identifier)
        occupancy = self._board.state(bed).occupancy if bed else None
        return occupancy.pseudonym if occupancy else ""

    # ---- events ----------------------------------------------------------------------------------------------------------

    def _of_adt(self, arrival: Arrival) -> Consequence:
        source = arrival.source
        if source.kind != "adt":
            raise BadMessage("MSH", 3, "wrong_kind", "ADT of a source that the site file does not call adt")
        kind = event_kind_of(arrival.header.message_type)
        if kind is None:
            return Consequence(State.NOT_ACTED_ON, code="not_acted_on", reason="MSH-9: an event that moves nobody here")
        reckoning = self._reckon(arrival)
        event = event_of(arrival.message, kind, zone=source.time_zone, offset=reckoning.offset, received_at=arrival.received_at)
        patient = self._patient(event, simulated=arrival.simulated)
        bed = self._bed(event.bed)
        told = Consequence(State.ACCEPTED, bed=bed.name if bed else "", pseudonym=patient.pseudonym, clock_offset_s=reckoning.offset_s)
        if not reckoning.trusted:
            return _in_doubt(told)
        prior = self._bed(event.prior_bed)
        revisions = self._moved(event, prior, bed, patient)
        if bed is None and prior is None and not revisions:
            return replace(told, state=State.UNROUTED, code="unknown_bed", reason="PV1-3: no bed of the site file; add it as an alias")
        return replace(told, effects=tuple(_effect(occupancy) for occupancy in revisions))

    def _moved(self, event: AdtEvent, prior: Bed | None, bed: Bed | None, patient: Patient) -> list[Occupancy]:
        when = When(event.at, event.message_at)
        match event.kind:
            case EventKind.ADMIT:
                return self._board.admit(bed, patient, when) if bed else []
            case EventKind.TRANSFER:
                return self._board.transfer(prior, bed, patient, when)
            case EventKind.DISCHARGE:
                return self._board.discharge(bed, patient, when)

    def _patient(self, event: AdtEvent, *, simulated: bool) -> Patient:
        person = event.person
        return Patient(
            self._vault.pseudonyms.of(self._site.site, person.authority, person.identifier),
            self._vault.identity.close(_identity_text(person), IDENTITY),
            person.covariates_at(event.at.date()),
            simulated,
        )

    # ---- both ------------------------------------------------------------------------------------------------------------

    def _bed(self, raw: str) -> Bed | None:
        """Return the bed of a raw name: as sent, or its first three components (point of care, room, bed)."""
        if not raw:
            return None
        return self._site.bed_of(raw) or self._site.bed_of("^".join(raw.split("^")[:3]).rstrip("^"))

    def _reckon(self, arrival: Arrival) -> Reckoning:
        """Learn the source's clock from this message, if it tells the second."""
        clock = self._clocks.of(arrival.source.name)
        near = arrival.received_at - clock.hear(None, arrival.received_at).offset
        try:
            created = instant_told(arrival.header.first(7), arrival.source.time_zone, near, digits=TO_THE_SECOND)
            return clock.hear(created, arrival.received_at)
        except (BadTime, OverflowError) as fault:
            raise BadMessage("MSH", 7, "bad_time", "no timestamp") from fault


def _in_doubt(told: Consequence) -> Consequence:
    reason = "the clock of this source drifts faster than 2 s a minute; synchronise it"
    return replace(told, state=State.CLOCK, code="clock_unstable", reason=reason)


def _frame(arrival: Arrival, bed: Bed, report: Report, told: Consequence) -> Frame:
    source = arrival.source
    return Frame(
        bed=bed,
        source=source.name,
        readings=report.readings,
        received_at=arrival.received_at,
        origin=arrival.origin,
        mapping_digest=told.mapping_digest,
        clock_offset_s=told.clock_offset_s,
        simulated=arrival.simulated,
        interval_s=source.interval_s,
        latency_s=source.latency_s,
    )


def _identity_text(person: Person) -> bytes:
    """Return what is sealed of a person, as JSON."""
    fields = {
        "identifier": person.identifier,
        "authority": person.authority,
        "family": person.family,
        "given": person.given,
        "birth_date": person.birth_date.isoformat() if person.birth_date else None,
        "sex": person.sex,
    }
    return json.dumps(fields).encode()
