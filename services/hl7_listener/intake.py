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
from backbone.site import SiteFile, Source, Tolerance
from backbone.telemetry import logger
from backbone.wire import microseconds
from services.hl7_listener import metrics
from services.hl7_listener.ack import NO_HEADER, Answer, Outcome, acknowledgment, refusal, unreadable
from services.hl7_listener.consequence import Arrival, Consequence, Consequences
from services.hl7_listener.deviation import Deviation, deviations_of, without_crc
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
    """The answer to a message, to be sent when `done` ends; `done` None: at once. `source` is empty for an unknown sender."""

    header: Header
    answer: Answer
    done: "asyncio.Future[None] | None"
    source: str = ""


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
        self._tolerant = any(source.tolerates for source in site.source)
        self._answers = 0
        self._full = False

    def close(self) -> None:
        """Close the journal's read access."""
        self._reader.close()

    def take(self, item: Block | Fault, heard: str = "") -> Decision | None:
        """Decide on a block or a fault; None when nothing can be said to its sender. Never waits.

        `heard` is the source that the connection's messages came from so far.
        """
        now = self._clock.now()
        block = self._tolerated(item)
        if isinstance(block, Fault):
            return self._take_fault(block, now, heard)
        if self._is_full():
            header = self._header_or_none(block.content)
            full = Answer(Outcome.ERROR, "journal_full", "", "no room; send again later")
            return self._decided(header, full, None, self._source_name(header))
        header = NO_HEADER
        try:
            header = header_of(block.content)
            self._count_deviations(header, block)
            if header.acknowledges:
                return self._take_acknowledgment(header, block.content, now)
            return self._take_message(header, block.content, now)
        except BadMessage as fault:
            return self._refuse(header, block.content, now, fault)
        except (SoporError, ValueError, LookupError, OverflowError) as fault:
            return self._refuse(header, block.content, now, unreadable(fault))

    def ends_at_rest(self, item: Block | Fault) -> bool:
        """Tell whether a message ends here although its sender has not said so, as its source may do that."""
        if isinstance(item, Block):
            return Tolerance.FS_ONLY in self._tolerances(item.content)
        return Tolerance.NO_MLLP in self._tolerances(item.head)

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
        return Decision(header, Answer(Outcome.ACCEPT), self._journal.commit(Commit(row), now), row.source)

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

    def _take_fault(self, fault: Fault, now: datetime, heard: str) -> Decision | None:
        header = self._header_or_none(fault.head)
        source = self._source_name(header) or heard
        metrics.FRAMING.labels(source, fault.code).inc()
        if fault.code is FaultCode.PADDING:
            return None
        logger().warning("framing_fault", source=source, code=fault.code, bytes=fault.size)
        if not fault.head or self._is_full():
            return None
        decision = self._refuse(header, fault.head, now, BadMessage("frame", 0, fault.code, FAULT_TEXTS[fault.code]))
        return decision if fault.answered else None

    # ---- small things ----------------------------------------------------------------------------------------------------

    def _tolerances(self, content: bytes) -> frozenset[Tolerance]:
        if not self._tolerant:
            return frozenset()
        header = self._header_or_none(content)
        source = self._site.source_of(header.first(3), header.first(4))
        return source.tolerates if source else frozenset()

    def _tolerated(self, item: Block | Fault) -> Block | Fault:
        """Return a message as the block that its source should have sent, where the site file tolerates what it sent."""
        content = item.content if isinstance(item, Block) else item.head
        tolerances = self._tolerances(content)
        if isinstance(item, Fault):
            if item.code is not FaultCode.UNFRAMED or Tolerance.NO_MLLP not in tolerances:
                return item
            item = Block(content, frozenset({Deviation.NO_FRAME}))
        if Tolerance.CRC_BEFORE_FS in tolerances and (shorter := without_crc(content)) != content:
            return Block(shorter, item.deviations | {Deviation.CRC_BEFORE_END})
        return item

    def _count_deviations(self, header: Header, block: Block) -> None:
        if found := block.deviations | deviations_of(block.content):
            source = self._source_name(header)
            for code in found:
                metrics.DEVIATIONS.labels(source, code).inc()

    def _source_name(self, header: Header) -> str:
        source = self._site.source_of(header.first(3), header.first(4))
        return source.name if source else ""

    def _row(self, header: Header, content: bytes, now: datetime, *, state: State, why: tuple[str, str]) -> MessageRow:
        """Return the row of a message without effect."""
        return MessageRow(
            self._journal.next_sequence(),
            now,
            state,
            content,
            hashlib.sha256(content).digest(),
            source=self._source_name(header),
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
        return Decision(header, answer, done, source)

    def _count(self, source: Source, consequence: Consequence) -> None:
        metrics.CLOCK_OFFSET.labels(source.name).set(consequence.clock_offset_s)
        for row in consequence.unmapped:
            metrics.UNMAPPED.labels(source.name, row.reason).inc()
        if consequence.code and consequence.state is not State.NOT_ACTED_ON:
            logger().warning("message_quarantined", source=source.name, code=consequence.code)
