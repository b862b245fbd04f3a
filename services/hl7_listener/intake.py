"""The decision on one message: who sent it, was it here before, what does it change; then it is journaled, then answered."""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from anesthesia.errors import SoporError
from anesthesia.reading import Origin
from backbone.clock import Clock
from backbone.site import SiteFile, Source
from backbone.telemetry import logger
from backbone.wire import microseconds
from services.hl7_listener import metrics
from services.hl7_listener.ack import NO_HEADER, Answer, Outcome, acknowledgment, refusal, unreadable
from services.hl7_listener.consequence import Arrival, Consequence, Consequences
from services.hl7_listener.device_time import told_to_the_second
from services.hl7_listener.journal import Journal
from services.hl7_listener.journal_reader import JournalReader
from services.hl7_listener.message import BadMessage, Header, charset_of, header_of, message_of, require_control_id
from services.hl7_listener.mllp import FAULT_TEXTS, Block, Fault, FaultCode
from services.hl7_listener.record import Commit, MessageRow, State

SAME_WITHIN: Final = timedelta(hours=24)
SAME_WITHOUT_TIME: Final = timedelta(seconds=5)  # without seconds in MSH-7 a counter that began anew could look like a repetition
NO_ANSWER: Final = "none"
_TYPES: Final = frozenset({"ORU^R01", "ORU^W01", "ADT^A01", "ADT^A02", "ADT^A03"})
_CONTROL_ID_CHARACTERS: Final = 64


class _Known(NamedTuple):
    digest: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Limits:
    """What the disk may hold."""

    journal_bytes: int


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to a message, to be sent when `done` ends; `done` None: at once."""

    header: Header
    answer: Answer
    done: "asyncio.Future[None] | None"


def _printable(text: str) -> str:
    return "".join(c for c in text if " " <= c <= "~")[:_CONTROL_ID_CHARACTERS]


def _type_label(header: Header) -> str:
    if header.acknowledges:
        return "ACK"
    return header.message_type if header.message_type in _TYPES else "other"


def identity_of(source: str, header: Header) -> bytes:
    """Return what makes two messages the same one: source, MSH-3, MSH-4, MSH-10, MSH-7."""
    parts = [source, *(header.fields[number] for number in (3, 4, 10, 7))]
    return hashlib.sha256("\0".join(parts).encode()).digest()[:16]


class Intake:
    """Takes messages one after the other; what it decides is journaled in the same order."""

    def __init__(
        self, site: SiteFile, consequences: Consequences, journal: Journal, *, listener: str, clock: Clock, limits: Limits
    ) -> None:
        """Join the parts of one listener."""
        self._site, self._consequences, self._journal = site, consequences, journal
        self._listener, self._clock, self._limits = listener, clock, limits
        self._reader = JournalReader(journal.folder)
        self._in_flight: dict[bytes, _Known] = {}
        self._answers = 0
        self._full = False

    def close(self) -> None:
        """Close the journal's read access."""
        self._reader.close()

    def take(self, item: Block | Fault) -> Decision | None:
        """Decide on a block or a fault; None when nothing can be said to its sender. Never waits."""
        now = self._clock.now()
        if isinstance(item, Fault):
            return self._take_fault(item, now)
        if self._is_full():
            return self._decided(
                self._header_or_none(item.content), Answer(Outcome.ERROR, "journal_full", "", "no room; send again later"), None
            )
        header = NO_HEADER
        try:
            header = header_of(item.content)
            if header.acknowledges:
                return self._take_acknowledgment(header, item.content, now)
            return self._take_message(header, item.content, now)
        except BadMessage as fault:
            return self._refuse(header, item.content, now, fault)
        except (SoporError, ValueError, LookupError, OverflowError) as fault:
            return self._refuse(header, item.content, now, unreadable(fault))

    def tick(self) -> None:
        """Let time pass: what ends in silence is journaled without a message."""
        now = self._clock.now()
        metrics.JOURNAL_BYTES.set(self._journal.bytes_used)
        effects = self._consequences.of_time(now)
        if effects:
            row = MessageRow(self._journal.next_sequence(), now, State.TIME)
            self._journal.commit(Commit(row, effects, self._consequences.kept("")), now)

    def answer_bytes(self, decision: Decision) -> bytes | None:
        """Return the answer as an HL7 message; None when the sender wants none."""
        self._answers += 1
        now = self._clock.now()
        control_id = f"{self._journal.generation[:6]}{microseconds(now):x}{self._answers % 4096:03x}"
        return acknowledgment(decision.header, decision.answer, now=now, control_id=control_id[:20])

    # ---- the ways of a message -------------------------------------------------------------------------------------------

    def _take_message(self, header: Header, content: bytes, now: datetime) -> Decision:
        require_control_id(header)
        source = self._site.source_of(header.first(3), header.first(4))
        if source is None:
            raise BadMessage("MSH", 3, "unknown_sender", "no source of the site file has this sending application")
        message = message_of(content, header, charset_of(header, source.charset))
        identity, digest = identity_of(source.name, header), hashlib.sha256(content).digest()
        known = self._known(identity, header, now)
        if known == digest:
            return self._repeated(source, header, now)
        counts = {} if known is None else {"control_id_reuse": 1}
        if known is not None:
            metrics.REUSED.labels(source.name).inc()
        sequence = self._journal.next_sequence()
        origin = Origin(self._listener, self._journal.generation, sequence, 0)
        consequence = self._consequences.of(Arrival(source, message, now, origin))
        row = MessageRow(sequence, now, consequence.state, content, digest, identity, source.name, _printable(header.control_id))
        done = self._journal.commit(self._commit(row, header, consequence, counts), now)
        self._in_flight[identity] = _Known(digest, now)
        done.add_done_callback(lambda _: self._landed(identity, digest))
        self._count(source, consequence)
        return self._decided(header, Answer(Outcome.ACCEPT), done, source.name)

    def _take_acknowledgment(self, header: Header, content: bytes, now: datetime) -> Decision:
        """Keep an answer to nothing that we sent. It gets none: two sides that answer each other's answers never end."""
        reason = "MSH-9: an answer, to no message of ours"
        row = self._row(header, content, now, state=State.NOT_ACTED_ON, why=("acknowledgment", reason))
        metrics.MESSAGES.labels(row.source, row.message_type, NO_ANSWER).inc()
        return Decision(header, Answer(Outcome.ACCEPT), self._journal.commit(Commit(row), now))

    def _commit(self, row: MessageRow, header: Header, consequence: Consequence, counts: Mapping[str, int]) -> Commit:
        told = replace(
            row,
            message_type=_printable(header.message_type),
            bed=consequence.bed,
            pseudonym=consequence.pseudonym,
            mapping_digest=consequence.mapping_digest,
            clock_offset_s=consequence.clock_offset_s,
            code=consequence.code,
            reason=consequence.reason,
        )
        return Commit(told, consequence.effects, self._consequences.kept(row.source), consequence.unmapped, counts)

    def _known(self, identity: bytes, header: Header, now: datetime) -> bytes | None:
        """Return the digest of the message with this identity that was taken before."""
        since = now - (SAME_WITHIN if told_to_the_second(header.first(7)) else SAME_WITHOUT_TIME)
        flying = self._in_flight.get(identity)
        if flying is not None and flying.received_at >= since:
            return flying.digest
        return self._reader.digest_of(identity, microseconds(since))

    def _landed(self, identity: bytes, digest: bytes) -> None:
        """From now on the journal itself knows the message."""
        flying = self._in_flight.get(identity)
        if flying is not None and flying.digest == digest:
            del self._in_flight[identity]

    def _repeated(self, source: Source, header: Header, now: datetime) -> Decision:
        """Answer again. The commit that counts it comes after the first one's: the answer never overtakes it."""
        metrics.DUPLICATES.labels(source.name).inc()
        done = self._journal.commit(Commit(counts={"duplicates": 1}), now)
        return self._decided(header, Answer(Outcome.ACCEPT), done, source.name)

    def _refuse(self, header: Header, content: bytes, now: datetime, fault: BadMessage) -> Decision:
        """Put a message into quarantine and say why."""
        row = self._row(header, content, now, state=State.REFUSED, why=(fault.code, str(fault)))
        logger().warning("message_refused", sequence=row.sequence, source=row.source, code=fault.code, reason=str(fault))
        done = self._journal.commit(Commit(row), now)
        return self._decided(header, refusal(fault), done, row.source)

    def _take_fault(self, fault: Fault, now: datetime) -> Decision | None:
        metrics.FRAMING.labels(fault.code).inc()
        logger().warning("framing_fault", code=fault.code, bytes=fault.size)
        if fault.code is FaultCode.JUNK or not fault.head or self._is_full():
            return None
        header = self._header_or_none(fault.head)
        decision = self._refuse(header, fault.head, now, BadMessage("frame", 0, fault.code, FAULT_TEXTS[fault.code]))
        return decision if fault.answered else None

    # ---- small things ----------------------------------------------------------------------------------------------------

    def _row(self, header: Header, content: bytes, now: datetime, *, state: State, why: tuple[str, str]) -> MessageRow:
        """Return the row of a message without effect."""
        source = self._site.source_of(header.first(3), header.first(4))
        return MessageRow(
            self._journal.next_sequence(),
            now,
            state,
            content,
            hashlib.sha256(content).digest(),
            source=source.name if source else "",
            control_id=_printable(header.control_id),
            message_type=_type_label(header),
            code=why[0],
            reason=why[1],
        )

    def _header_or_none(self, content: bytes) -> Header:
        try:
            return header_of(content)
        except BadMessage:
            return NO_HEADER

    def _is_full(self) -> bool:
        full = self._journal.bytes_used > self._limits.journal_bytes
        if full is not self._full:
            self._full = full
            logger().warning("journal_full" if full else "journal_has_room", bytes=self._journal.bytes_used)
        return full

    def _decided(self, header: Header, answer: Answer, done: "asyncio.Future[None] | None", source: str = "") -> Decision:
        metrics.MESSAGES.labels(source, _type_label(header), answer.outcome).inc()
        return Decision(header, answer, done)

    def _count(self, source: Source, consequence: Consequence) -> None:
        metrics.CLOCK_OFFSET.labels(source.name).set(consequence.clock_offset_s)
        for row in consequence.unmapped:
            metrics.UNMAPPED.labels(source.name, row.reason).inc()
        if consequence.code and consequence.state is not State.NOT_ACTED_ON:
            logger().warning("message_quarantined", source=source.name, code=consequence.code)
