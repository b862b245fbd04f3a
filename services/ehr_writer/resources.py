"""What is due -> FHIR R4 resources as JSON. Pure. Each passes the typed models of `fhir.resources.R4B`, whose elements equal R4's.

The default top level of fhir.resources is R5 and never imported. Observation.performer cannot be a Device in R4: the model stands in
`device` (where the EHR takes Devices), in `method.text` and in Provenance.agent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid5

from fhir.resources.R4B.device import Device
from fhir.resources.R4B.observation import Observation
from fhir.resources.R4B.provenance import Provenance
from pydantic import BaseModel, ValidationError

from anesthesia.case import instant_of
from anesthesia.checkpoint import note_of
from anesthesia.prediction import FIXED_TEXT, Tier
from services.ehr_writer import codes
from services.ehr_writer.codes import Code, Json, concept
from services.ehr_writer.content import AuditSummary
from services.ehr_writer.errors import EhrRefused
from services.ehr_writer.summary import Counted, Leaves, Summary, Withheld

# The namespace of every id that we give to a resource; drawn once, never changed.
EHR_NAMESPACE: Final = UUID("0b0f5f0a-4a53-4b1c-9d3e-6a1b7c7c2f7e")
INDEX_UNIT: Final = "{index}"  # UCUM: a number without dimension, annotated
VALUE_DIGITS: Final = 1

_MODELS: Final[Mapping[str, type[BaseModel]]] = {"Observation": Observation, "Device": Device, "Provenance": Provenance}


@dataclass(frozen=True, slots=True)
class Subject:
    """Where a resource belongs: the case, its window, the patient's id in this EHR, what the EHR takes beside Observations.

    `origin` names the audit log that holds the leaves.
    """

    case_id: UUID
    window_start: datetime
    planned_at: datetime
    origin: str
    patient_id: str | None  # None: a dry run, in which nobody was looked up
    device_id: str | None = None
    simulated: bool = False
    provenance: bool = True


def window_id(case_id: UUID, window_start: datetime, what: str = "60s") -> str:
    """Return the business identifier of a window's Observation, which is also its id where the EHR takes ours."""
    return str(uuid5(EHR_NAMESPACE, f"{case_id}/{what}/{window_start.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"))


def provenance_id(observation_id: str) -> str:
    """Return the id of an Observation's Provenance."""
    return str(uuid5(EHR_NAMESPACE, f"{observation_id}/provenance"))


def device_id_of(model: str, digest: str) -> str:
    """Return the id of the Device that stands for a model."""
    return str(uuid5(EHR_NAMESPACE, f"model/{model}/{digest}"))


def checked(resource: Json) -> Json:
    """Return the resource; EhrRefused when it is no valid R4 resource of its type, since then no EHR would take it."""
    try:
        _MODELS[resource["resourceType"]].model_validate(resource)
    except ValidationError as fault:
        raise EhrRefused("not_valid_r4") from fault
    return resource


def instant_text(instant: datetime) -> str:
    """Return an instant as FHIR writes it, in UTC."""
    return f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%S}Z"


def _index(value: float) -> Json:
    return {"value": round(value, VALUE_DIGITS), "unit": INDEX_UNIT, "system": codes.UCUM, "code": INDEX_UNIT}


def _part(code: Code, value: Json) -> Json:
    return {"code": concept(code), **value}


def _depth(code: Code, value: float) -> Json:
    return _part(code, {"valueQuantity": _index(value)})


def _seconds(code: Code, count: int) -> Json:
    return _part(code, {"valueQuantity": {"value": count, "unit": "s", "system": codes.UCUM, "code": "s"}})


def _count(code: Code, count: int) -> Json:
    return _part(code, {"valueInteger": count})


def _text(code: Code, text: str) -> Json:
    return _part(code, {"valueString": text})


def leaf_name(origin: str, index: int) -> str:
    """Return the name of one leaf: the audit log's origin and the leaf's index."""
    return f"{origin}/{index}"


def _leaf_parts(leaves: Leaves | None, origin: str) -> list[Json]:
    if leaves is None:
        return []
    return [_text(Code.LEAVES, f"{leaf_name(origin, leaves.first)}-{leaves.last}"), _text(Code.LEAVES_HASH, leaves.digest)]


def _counted_parts(counted: Counted, tier: Tier | None) -> list[Json]:
    return [
        _seconds(Code.SCORED, counted.scored),
        _seconds(Code.EXPECTED, counted.expected),
        _part(Code.TIER, {"valueCodeableConcept": concept(codes.tier_code(tier))}),
    ]


def _input_parts(counted: Counted, subject: Subject) -> list[Json]:
    """Return what Provenance would say, for an EHR that takes none."""
    if subject.provenance:
        return []
    return [_text(Code.INPUT, counted.input_hash), *_leaf_parts(counted.leaves, subject.origin)]


def _model_parts(summary: Summary, subject: Subject) -> list[Json]:
    if subject.device_id is not None:
        return []
    return [_text(Code.MODEL, summary.model), _text(Code.MODEL_DIGEST, summary.model_digest)]


def _observation(subject: Subject, code: Code, text: str, period: tuple[int, int]) -> Json:
    """Return what all our Observations share."""
    first, stop = period
    what = "audit" if code is Code.AUDIT else "60s"
    value = window_id(subject.case_id, subject.window_start, what)
    labels = [] if code is Code.AUDIT else [codes.AIAST]
    labels += [codes.TEST_DATA] if subject.simulated else []
    resource: Json = {
        "resourceType": "Observation",
        "id": value,
        "identifier": [{"system": codes.WINDOW_ID, "value": value}],
        "status": "preliminary",
        "category": [{"coding": [{"system": codes.CATEGORY, "code": "procedure", "display": "Procedure"}]}],
        "code": {**concept(code), "text": text},
        "effectivePeriod": {"start": instant_text(instant_of(first)), "end": instant_text(instant_of(stop))},
        "issued": instant_text(subject.planned_at),
        "note": [{"text": FIXED_TEXT}],
    }
    if labels:
        resource["meta"] = {"security": labels}
    if subject.patient_id is not None:
        resource["subject"] = {"reference": f"Patient/{subject.patient_id}"}
    if subject.device_id is not None:
        resource["device"] = {"reference": f"Device/{subject.device_id}"}
    return resource


def summary_observation(summary: Summary, subject: Subject) -> Json:
    """Return the Observation of a scored minute: median with interval, lowest, highest, seconds scored, tier, caveats in words."""
    counted = summary.counted
    text = "Predicted depth of anesthesia (AI estimate, not a measured index)"
    resource = _observation(subject, Code.INDEX, text, (counted.first, counted.stop))
    resource["valueQuantity"] = _index(summary.value)
    resource["method"] = {"text": f"Sopor model {summary.model} on EEG: median of the seconds scored. {FIXED_TEXT}"}
    resource["note"] += [{"text": f"Caveat: {codes.CAVEAT_DISPLAY[caveat]}"} for caveat in summary.caveats]
    resource["component"] = [
        _depth(Code.LOW, summary.low),
        _depth(Code.HIGH, summary.high),
        _depth(Code.MINIMUM, summary.minimum),
        _depth(Code.MAXIMUM, summary.maximum),
        *_counted_parts(counted, Tier.E),
        *(_part(Code.CAVEAT, {"valueCodeableConcept": codes.caveat_concept(caveat)}) for caveat in summary.caveats),
        *_model_parts(summary, subject),
        *_input_parts(counted, subject),
    ]
    return checked(resource)


def withheld_observation(withheld: Withheld, subject: Subject) -> Json:
    """Return the Observation of a minute without a number: the same code, no value, the reason coded and in words."""
    counted = withheld.counted
    text = "Predicted depth of anesthesia: withheld"
    resource = _observation(subject, Code.INDEX, text, (counted.first, counted.stop))
    resource["dataAbsentReason"] = codes.absent_concept(withheld.reason)
    resource["method"] = {"text": f"Sopor: no number was given. {FIXED_TEXT}"}
    resource["component"] = [
        _part(Code.WITHHELD, {"valueCodeableConcept": codes.reason_concept(withheld.reason)}),
        *_counted_parts(counted, None),
        *_input_parts(counted, subject),
    ]
    return checked(resource)


def audit_observation(audit: AuditSummary, subject: Subject) -> Json:
    """Return the Observation that gives the audit log of a closed case back to the EHR."""
    resource = _observation(subject, Code.AUDIT, "Audit summary of the depth predictions of one case", (audit.first, audit.stop))
    resource["method"] = {"text": f"Counted by Sopor from its audit log. {FIXED_TEXT}"}
    head = note_of(audit.checkpoint).checkpoint
    resource["component"] = [
        _seconds(Code.SCORED, audit.scored),
        _seconds(Code.REFUSED, audit.refused),
        _seconds(Code.DEVICE_INDEX, audit.device_index),
        _count(Code.MINUTES_WRITTEN, audit.written),
        _count(Code.MINUTES_WITHHELD, audit.withheld),
        _count(Code.MINUTES_AMENDED, audit.amended),
        _count(Code.MINUTES_FAILED, audit.failed),
        *(part for name, digest in audit.models for part in (_text(Code.MODEL, name), _text(Code.MODEL_DIGEST, digest))),
        *_leaf_parts(audit.leaves, head.origin),
        _text(Code.CHECKPOINT, head.root.hex()),
        _text(Code.SIGNED, audit.checkpoint.rstrip("\n")),
    ]
    return checked(resource)


def device_resource(model: str, digest: str) -> Json:
    """Return the Device that stands for a model (AI-Device of HL7 AI Transparency): `name@version` and the digest of its bundle."""
    name, _, version = model.partition("@")
    artificial = {"system": codes.AI_DEVICE, "code": "Artificial-Intelligence", "display": "Artificial Intelligence"}
    return checked(
        {
            "resourceType": "Device",
            "id": device_id_of(model, digest),
            "identifier": [
                {"system": codes.MODEL_ID, "value": device_id_of(model, digest)},
                {"system": codes.NAMED_HASH, "value": f"ni:///sha-256;{digest}"},
            ],
            "status": "active",
            "deviceName": [{"name": model, "type": "model-name"}],
            "modelNumber": name,
            "type": {"coding": [artificial]},
            "version": [{"value": version or model}],
            "note": [{"text": FIXED_TEXT}],
        }
    )


def _model_who(device_id: str | None, model: str) -> Json:
    if device_id is not None:
        return {"reference": f"Device/{device_id}"}
    return {"type": "Device", "identifier": {"system": codes.MODEL_ID, "value": model or "sopor"}}


def _source(system: str, value: str) -> Json:
    return {"role": "source", "what": {"identifier": {"system": system, "value": value}}}


def _leaf_sources(leaves: Leaves | None, origin: str) -> list[Json]:
    if leaves is None:
        return []
    named = dict.fromkeys(leaf_name(origin, index) for index in (leaves.first, leaves.last))
    return [*(_source(codes.LEAF, name) for name in named), _source(codes.LEAVES_HASH, leaves.digest)]


def provenance_of(content: Summary | Withheld, subject: Subject, observation_id: str) -> Json:
    """Return the AI-Provenance of an Observation: the model as author, the hash over its inputs, the leaves of the audit log.

    Entities of role `source` name, each by an identifier: the inputs' hash; the first and the last leaf, as `origin/index`; the hash over
    all leaves of the minute's records; the case. A minute of which no second was recorded has no leaf.
    """
    counted = content.counted
    sources = [_source(codes.INPUT_HASH, counted.input_hash), *_leaf_sources(counted.leaves, subject.origin)]
    sources.append(_source(codes.CASE_ID, str(subject.case_id)))
    model = content.model if isinstance(content, Summary) else ""
    artificial = {"system": codes.AI_DEVICE, "code": "Artificial-Intelligence", "display": "Artificial Intelligence"}
    return checked(
        {
            "resourceType": "Provenance",
            "id": provenance_id(window_id(subject.case_id, subject.window_start)),
            "meta": {"security": [codes.AIAST, *([codes.TEST_DATA] if subject.simulated else [])]},
            "target": [{"reference": f"Observation/{observation_id}"}],
            "occurredPeriod": {
                "start": instant_text(instant_of(counted.first)),
                "end": instant_text(instant_of(counted.stop)),
            },
            "recorded": instant_text(subject.planned_at),
            "reason": [{"coding": [codes.AIAST]}],
            "agent": [
                {
                    "type": {"coding": [{"system": codes.PARTICIPANT, "code": "author", "display": "Author"}]},
                    "role": [{"coding": [artificial]}],
                    "who": _model_who(subject.device_id, model),
                }
            ],
            "entity": sources,
        }
    )
