"""The simulator's own account: every message it sent and what came back, one JSON object a line. The other half of every count."""

import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from services.device_simulator.room import Outgoing


def _shown(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds")


@dataclass(slots=True)
class Delivery:
    """One message on its way."""

    message: Outgoing
    first_sent: datetime | None = None
    deliveries: int = 0
    ack: str | None = None
    acked: datetime | None = None


@dataclass(slots=True)
class Stay:
    """What should be counted of one room: from the admission to the discharge, observed from the first reading on."""

    room: str
    admitted: datetime | None = None
    first_observation: datetime | None = None
    last_observation: datetime | None = None
    discharged: datetime | None = None


@dataclass(slots=True)
class Counts:
    """Totals over a run."""

    sent: int = 0
    acknowledged: int = 0
    rejected: int = 0
    dropped: int = 0


@dataclass(slots=True)
class SentLog:
    """Appends to the log file; use as a context."""

    path: Path
    counts: Counts = field(default_factory=Counts)
    stays: dict[str, Stay] = field(default_factory=dict)
    _file: TextIO | None = None

    def __enter__(self) -> Self:
        """Open the file for appending."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a", encoding="utf-8", buffering=1)
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        """Write the totals and close."""
        for stay in self.stays.values():
            self._write_stay("case", stay)
        self.write("end", **{name: getattr(self.counts, name) for name in Counts.__slots__})
        if self._file is not None:
            self._file.close()

    def write(self, event: str, **fields: str | float | None) -> None:
        """Append one line."""
        if self._file is not None:
            self._file.write(json.dumps({"event": event, **fields}) + "\n")

    def settled(self, delivery: Delivery, *, positive: bool) -> None:
        """Record a message that was answered for good."""
        self.counts.sent += 1
        self.counts.acknowledged += positive
        self.counts.rejected += not positive
        self._write_delivery("message", delivery)

    def unsettled(self, delivery: Delivery) -> None:
        """Record a message that was given up without a final answer: sent, or never sent at all."""
        self.counts.sent += delivery.deliveries > 0
        self.counts.dropped += 1
        self._write_delivery("dropped", delivery)

    def admitted(self, room: str, at: datetime) -> None:
        """Open the account of a stay."""
        self.stays[room] = Stay(room, admitted=at)
        self._write_stay("admitted", self.stays[room])

    def observed(self, message: Outgoing) -> None:
        """Note that a reading of this room went out."""
        stay = self.stays.get(message.room)
        if stay is None or message.observed is None:
            return
        stay.last_observation = message.observed
        if stay.first_observation is None:
            stay.first_observation = message.observed
            self._write_stay("first_observation", stay)

    def discharged(self, room: str, at: datetime) -> None:
        """Close the account of a stay."""
        stay = self.stays.get(room)
        if stay is not None:
            stay.discharged = at

    def _write_delivery(self, event: str, delivery: Delivery) -> None:
        message = delivery.message
        self.write(
            event,
            control_id=message.control_id,
            application=message.application,
            room=message.room,
            kind=message.kind,
            observed=_shown(message.observed),
            first_sent=_shown(delivery.first_sent),
            deliveries=delivery.deliveries,
            ack=delivery.ack,
            acked=_shown(delivery.acked),
        )

    def _write_stay(self, event: str, stay: Stay) -> None:
        expected = None
        if stay.admitted is not None and stay.discharged is not None:
            # A case opens with its first reading, which a slow acknowledgement of the admission may put off by a second.
            opened = stay.first_observation or stay.admitted
            expected = float(int(stay.discharged.timestamp()) - int(opened.timestamp()))
        self.write(
            event,
            room=stay.room,
            admitted=_shown(stay.admitted),
            first_observation=_shown(stay.first_observation),
            last_observation=_shown(stay.last_observation),
            discharged=_shown(stay.discharged),
            expected_seconds=expected,
        )
