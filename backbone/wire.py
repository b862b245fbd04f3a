"""Vocabulary <-> protobuf bytes (`depth.v1`). Pure. Every stream entry and every scoring call passes here and nowhere else."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from google.protobuf.message import DecodeError

from anesthesia.case import Phase
from anesthesia.errors import BadValue, BadWire, UnknownSignal
from anesthesia.occupancy import Covariates, Occupancy
from anesthesia.prediction import (
    Caveat,
    DeviceIndex,
    Evidence,
    ExpectedSecond,
    ModelUsed,
    Prediction,
    Record,
    Refusal,
    RefusalReason,
    Tier,
    state_of,
)
from anesthesia.reading import Bed, Frame, Numeric, Origin, Status, TimeSource, Waveform
from protos.depth.v1 import depth_pb2 as pb

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

_STATUS_TO_PB = {
    Status.VALID: pb.STATUS_VALID,
    Status.QUESTIONABLE: pb.STATUS_QUESTIONABLE,
    Status.INVALID: pb.STATUS_INVALID,
    Status.UNAVAILABLE: pb.STATUS_UNAVAILABLE,
}
_STATUS_OF_PB = {number: status for status, number in _STATUS_TO_PB.items()}
_TIME_TO_PB = {
    TimeSource.OBX_14: pb.TIME_SOURCE_OBX_14,
    TimeSource.OBR_7: pb.TIME_SOURCE_OBR_7,
    TimeSource.MSH_7: pb.TIME_SOURCE_MSH_7,
    TimeSource.RECEIPT: pb.TIME_SOURCE_RECEIPT,
}
_TIME_OF_PB = {number: source for source, number in _TIME_TO_PB.items()}


def microseconds(instant: datetime) -> int:
    """Return an aware instant as microseconds since 1970 UTC (exact, no float)."""
    return (instant - EPOCH) // MICROSECOND


def instant(us: int) -> datetime:
    """Return the instant of microseconds since 1970 UTC."""
    return EPOCH + timedelta(microseconds=us)


# ---- readings ----------------------------------------------------------------------------------------------------------------


def _numeric_to_pb(numeric: Numeric) -> pb.Numeric:
    return pb.Numeric(
        signal=numeric.signal,
        value=numeric.value,
        observed_at_us=microseconds(numeric.observed_at),
        status=_STATUS_TO_PB[numeric.status],
        time_source=_TIME_TO_PB[numeric.time_source],
    )


def _waveform_to_pb(waveform: Waveform) -> pb.Waveform:
    return pb.Waveform(
        signal=waveform.signal,
        start_us=microseconds(waveform.start),
        rate_hz=waveform.rate_hz,
        scale=waveform.scale,
        samples=waveform.samples.astype("<i2", copy=False).tobytes(),
        status=_STATUS_TO_PB[waveform.status],
        time_source=_TIME_TO_PB[waveform.time_source],
    )


def _numeric_of(message: pb.Numeric) -> Numeric:
    value = message.value if message.HasField("value") else None
    at = instant(message.observed_at_us)
    return Numeric(message.signal, value, at, _STATUS_OF_PB[message.status], _TIME_OF_PB[message.time_source])


def _waveform_of(message: pb.Waveform) -> Waveform:
    import numpy as np  # who reads records alone has no use for it

    samples = np.frombuffer(message.samples, "<i2").astype(np.int16)
    start = instant(message.start_us)
    status, source = _STATUS_OF_PB[message.status], _TIME_OF_PB[message.time_source]
    return Waveform(message.signal, start, message.rate_hz, samples, message.scale, status, source)


def _frame_to_pb(frame: Frame) -> pb.Frame:
    return pb.Frame(
        bed=pb.Bed(site=frame.bed.site, name=frame.bed.name),
        source=frame.source,
        numerics=[_numeric_to_pb(r) for r in frame.readings if isinstance(r, Numeric)],
        waveforms=[_waveform_to_pb(r) for r in frame.readings if isinstance(r, Waveform)],
        received_at_us=microseconds(frame.received_at),
        origin=pb.Origin(
            listener=frame.origin.listener,
            generation=frame.origin.generation,
            sequence=frame.origin.sequence,
            index=frame.origin.index,
        ),
        mapping_digest=frame.mapping_digest,
        clock_offset_s=frame.clock_offset_s,
        simulated=frame.simulated,
        interval_s=frame.interval_s,
        latency_s=frame.latency_s,
    )


def _frame_of(message: pb.Frame) -> Frame:
    origin = message.origin
    return Frame(
        bed=Bed(message.bed.site, message.bed.name),
        source=message.source,
        readings=(*map(_numeric_of, message.numerics), *map(_waveform_of, message.waveforms)),
        received_at=instant(message.received_at_us),
        origin=Origin(origin.listener, origin.generation, origin.sequence, origin.index),
        mapping_digest=message.mapping_digest,
        clock_offset_s=message.clock_offset_s,
        simulated=message.simulated,
        interval_s=message.interval_s,
        latency_s=message.latency_s,
    )


# ---- occupancy ---------------------------------------------------------------------------------------------------------------


def _occupancy_to_pb(occupancy: Occupancy) -> pb.Occupancy:
    person = occupancy.covariates
    return pb.Occupancy(
        bed=pb.Bed(site=occupancy.bed.site, name=occupancy.bed.name),
        case_id=occupancy.case_id.bytes,
        pseudonym=occupancy.pseudonym,
        start_us=microseconds(occupancy.start),
        end_us=None if occupancy.end is None else microseconds(occupancy.end),
        theatre=occupancy.theatre,
        adult_only=occupancy.adult_only,
        covariates=pb.Covariates(age_years=person.age_years, sex=person.sex, height_cm=person.height_cm, weight_kg=person.weight_kg),
        sealed_identity=occupancy.sealed_identity,
        simulated=occupancy.simulated,
    )


def _occupancy_of(message: pb.Occupancy) -> Occupancy:
    person = message.covariates
    return Occupancy(
        bed=Bed(message.bed.site, message.bed.name),
        case_id=UUID(bytes=message.case_id),
        pseudonym=message.pseudonym,
        start=instant(message.start_us),
        end=instant(message.end_us) if message.HasField("end_us") else None,
        theatre=message.theatre,
        adult_only=message.adult_only,
        covariates=Covariates(
            person.age_years if person.HasField("age_years") else None,
            person.sex if person.HasField("sex") else None,
            person.height_cm if person.HasField("height_cm") else None,
            person.weight_kg if person.HasField("weight_kg") else None,
        ),
        sealed_identity=message.sealed_identity,
        simulated=message.simulated,
    )


def pack_entry(body: Frame | Occupancy) -> bytes:
    """Return the bytes of one entry of `{pNN}:frames`."""
    match body:
        case Frame():
            entry = pb.StreamEntry(frame=_frame_to_pb(body))
        case Occupancy():
            entry = pb.StreamEntry(occupancy=_occupancy_to_pb(body))
    return entry.SerializeToString(deterministic=True)


def unpack_entry(data: bytes) -> Frame | Occupancy:
    """Return the Frame or Occupancy of an entry; BadWire when the bytes are neither."""
    try:
        entry = pb.StreamEntry.FromString(data)
        match entry.WhichOneof("body"):
            case "frame":
                return _frame_of(entry.frame)
            case "occupancy":
                return _occupancy_of(entry.occupancy)
            case _:
                raise BadWire("stream entry: neither frame nor occupancy; the writer is newer than this reader")
    except (DecodeError, BadValue, UnknownSignal, KeyError, ValueError, OverflowError) as fault:
        raise BadWire(f"stream entry: {type(fault).__name__} while decoding") from fault


@dataclass(frozen=True, slots=True)
class Heading:
    """What tells whose a Frame is and when it came, without its readings."""

    bed: Bed
    received_at: datetime


def heading_of(data: bytes) -> Heading | Occupancy:
    """Return the Heading of a Frame's entry, a tenth of the work of reading it whole, or the Occupancy; BadWire when it is neither."""
    try:
        entry = pb.StreamEntry.FromString(data)
        if entry.WhichOneof("body") == "frame":
            frame = entry.frame
            return Heading(Bed(frame.bed.site, frame.bed.name), instant(frame.received_at_us))
    except (DecodeError, BadValue, ValueError, OverflowError) as fault:
        raise BadWire(f"stream entry: {type(fault).__name__} while decoding") from fault
    found = unpack_entry(data)
    if not isinstance(found, Occupancy):
        raise BadWire("stream entry: neither frame nor occupancy; the writer is newer than this reader")
    return found


# ---- records -----------------------------------------------------------------------------------------------------------------


def _index_to_pb(index: DeviceIndex | None) -> pb.DeviceIndex | None:
    if index is None:
        return None
    return pb.DeviceIndex(signal=index.signal, value=index.value, observed_at_us=microseconds(index.observed_at))


def _evidence_to_pb(evidence: Evidence) -> pb.Evidence:
    return pb.Evidence(
        observed_until_us=None if evidence.observed_until is None else microseconds(evidence.observed_until),
        complete_at_us=None if evidence.complete_at is None else microseconds(evidence.complete_at),
        input_hash=evidence.input_hash,
        interval_s=evidence.interval_s,
        bound_s=evidence.bound_s,
        frames_until=evidence.frames_until,
    )


def _evidence_of(message: pb.Evidence) -> Evidence:
    return Evidence(
        instant(message.observed_until_us) if message.HasField("observed_until_us") else None,
        instant(message.complete_at_us) if message.HasField("complete_at_us") else None,
        message.input_hash,
        message.interval_s,
        message.bound_s,
        message.frames_until,
    )


def pack_record(record: Record) -> bytes:
    """Return the bytes of one entry of `{pNN}:predictions`."""
    message = pb.Record(
        case_id=record.of.case_id.bytes,
        bed=pb.Bed(site=record.of.bed.site, name=record.of.bed.name),
        second=record.of.second,
        simulated=record.of.simulated,
        phase=record.of.phase,
        evidence=_evidence_to_pb(record.evidence),
        model=None if record.model is None else pb.ModelUsed(name=record.model.name, digest=record.model.digest),
        device_index=_index_to_pb(record.device_index),
        suppression_ratio=record.suppression_ratio,
    )
    match record:
        case Prediction():
            message.prediction.CopyFrom(
                pb.Prediction(
                    tier=record.tier,
                    value=record.value,
                    low=record.low,
                    high=record.high,
                    caveats=record.caveats,
                    instead_of_e=record.instead_of_e or "",
                    out_of_distribution=record.out_of_distribution,
                )
            )
        case Refusal():
            message.refusal.CopyFrom(pb.Refusal(reason=record.reason, withheld_value=record.withheld_value))
    return message.SerializeToString(deterministic=True)


def unpack_record(data: bytes) -> Record:
    """Return the Prediction or Refusal of an entry; BadWire when the bytes are neither."""
    try:
        return _record_of(pb.Record.FromString(data))
    except (DecodeError, BadValue, KeyError, ValueError, OverflowError) as fault:
        raise BadWire(f"record: {type(fault).__name__} while decoding") from fault


def _record_of(message: pb.Record) -> Record:
    of = ExpectedSecond(
        UUID(bytes=message.case_id),
        Bed(message.bed.site, message.bed.name),
        message.second,
        message.simulated,
        Phase(message.phase),
    )
    evidence = _evidence_of(message.evidence)
    model = ModelUsed(message.model.name, message.model.digest) if message.HasField("model") else None
    at = message.device_index
    index = DeviceIndex(at.signal, at.value, instant(at.observed_at_us)) if message.HasField("device_index") else None
    suppression = message.suppression_ratio if message.HasField("suppression_ratio") else None
    if message.WhichOneof("outcome") == "refusal":
        refusal = message.refusal
        withheld = refusal.withheld_value if refusal.HasField("withheld_value") else None
        return Refusal(of, RefusalReason(refusal.reason), evidence, model, index, withheld, suppression)
    outcome = message.prediction
    return Prediction(
        of=of,
        tier=Tier(outcome.tier),
        value=outcome.value,
        low=outcome.low,
        high=outcome.high,
        evidence=evidence,
        state=state_of(outcome.value),
        caveats=tuple(Caveat(word) for word in outcome.caveats),
        model=model,
        instead_of_e=RefusalReason(outcome.instead_of_e) if outcome.instead_of_e else None,
        device_index=index,
        suppression_ratio=suppression,
        out_of_distribution=outcome.out_of_distribution if outcome.HasField("out_of_distribution") else None,
    )
