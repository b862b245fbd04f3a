"""The systems and codes of what is written. The same lists stand in `deploy/fhir/package`; a test compares them."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from anesthesia.prediction import IN_WORDS, Caveat, RefusalReason, Tier

Json = dict[str, Any]

BASE: Final = "https://sopor.example/fhir"  # a reserved name: the canonical of our definitions, nobody's server
DEPTH: Final = f"{BASE}/CodeSystem/depth-of-anesthesia"
REASON: Final = f"{BASE}/CodeSystem/withheld-reason"
CAVEAT: Final = f"{BASE}/CodeSystem/caveat"
WINDOW_ID: Final = f"{BASE}/NamingSystem/window"
MODEL_ID: Final = f"{BASE}/NamingSystem/model"
INPUT_HASH: Final = f"{BASE}/NamingSystem/input-sha256"
LEAF: Final = f"{BASE}/NamingSystem/ledger-leaf"
LEAVES_HASH: Final = f"{BASE}/NamingSystem/ledger-leaves-sha256"
CASE_ID: Final = f"{BASE}/NamingSystem/case"

UCUM: Final = "http://unitsofmeasure.org"
CATEGORY: Final = "http://terminology.hl7.org/CodeSystem/observation-category"
ABSENT: Final = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
OBSERVATION_VALUE: Final = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"
ACT_REASON: Final = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
PARTICIPANT: Final = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
# HL7 AI Transparency on FHIR 1.0.0-ballot
AI_DEVICE: Final = "http://hl7.org/fhir/uv/aitransparency/CodeSystem/AIdeviceTypeCS"
NAMED_HASH: Final = "urn:ietf:rfc:6920"


class Code(StrEnum):
    """The codes of our CodeSystem `depth-of-anesthesia`."""

    INDEX = "predicted-depth-index"
    LOW = "interval-low"
    HIGH = "interval-high"
    MINIMUM = "minimum"
    MAXIMUM = "maximum"
    SCORED = "seconds-scored"
    EXPECTED = "seconds-expected"
    TIER = "evidence-tier"
    TIER_E = "tier-e"
    TIER_NONE = "tier-none"
    CAVEAT = "caveat"
    WITHHELD = "withheld-reason"
    INPUT = "input-sha256"
    MODEL = "model"
    MODEL_DIGEST = "model-digest"
    AUDIT = "prediction-audit-summary"
    REFUSED = "seconds-refused"
    DEVICE_INDEX = "seconds-device-index"
    MINUTES_WRITTEN = "summaries-written"
    MINUTES_WITHHELD = "minutes-withheld"
    MINUTES_AMENDED = "summaries-amended"
    MINUTES_FAILED = "summaries-not-accepted"
    LEAVES = "ledger-leaves"
    LEAVES_HASH = "ledger-leaves-sha256"
    CHECKPOINT = "checkpoint-root"
    SIGNED = "signed-checkpoint"


DISPLAY: Final[Mapping[Code, str]] = MappingProxyType(
    {
        Code.INDEX: "Predicted depth index",
        Code.LOW: "Lower bound of the prediction interval",
        Code.HIGH: "Upper bound of the prediction interval",
        Code.MINIMUM: "Lowest scored second",
        Code.MAXIMUM: "Highest scored second",
        Code.SCORED: "Seconds scored from EEG",
        Code.EXPECTED: "Seconds expected",
        Code.TIER: "Evidence tier",
        Code.TIER_E: "Adequate EEG",
        Code.TIER_NONE: "No adequate EEG",
        Code.CAVEAT: "Caveat",
        Code.WITHHELD: "Reason for withholding",
        Code.INPUT: "SHA-256 over the inputs",
        Code.MODEL: "Model",
        Code.MODEL_DIGEST: "SHA-256 of the model",
        Code.AUDIT: "Audit summary of the predictions of one case",
        Code.REFUSED: "Seconds refused",
        Code.DEVICE_INDEX: "Seconds with a device's own index only",
        Code.MINUTES_WRITTEN: "Minutes written with a number",
        Code.MINUTES_WITHHELD: "Minutes withheld",
        Code.MINUTES_AMENDED: "Minutes amended",
        Code.MINUTES_FAILED: "Minutes that were not accepted",
        Code.LEAVES: "Leaves of the audit log",
        Code.LEAVES_HASH: "SHA-256 over the leaves of the audit log",
        Code.CHECKPOINT: "Root of the audit log",
        Code.SIGNED: "Signed checkpoint of the audit log",
    }
)

CAVEAT_DISPLAY: Final[Mapping[Caveat, str]] = MappingProxyType(
    {
        Caveat.SQI_FAIR: "signal quality 15-49 %",
        Caveat.EMG_FAIR: "muscle activity 30-55 dB",
        Caveat.NMB_OR_UNKNOWN: "relaxant given or not known: can read low in an awake paralysed patient",
        Caveat.KETAMINE: "ketamine: may read high; do not deepen on it",
        Caveat.N2O: "nitrous oxide",
        Caveat.DEXMEDETOMIDINE: "dexmedetomidine",
        Caveat.VOLATILE_NOT_VALIDATED: "not validated with volatile agents",
        Caveat.ELDERLY: "elderly patient",
        Caveat.LATE_FEED: "data arrives late",
    }
)

# FHIR's data-absent-reason: unsupported where the patient is outside the model's scope, not-performed where nothing came in.
_UNSUPPORTED: Final = frozenset(
    {RefusalReason.AGE_OUT_OF_SCOPE, RefusalReason.AGE_UNKNOWN, RefusalReason.HYPOTHERMIA, RefusalReason.BYPASS}
)
_NOT_PERFORMED: Final = frozenset(
    {RefusalReason.NO_EEG, RefusalReason.MODEL_UNAVAILABLE, RefusalReason.DRUG_HISTORY_INCOMPLETE, RefusalReason.DEVICE_DEMO}
)
_ABSENT_DISPLAY: Final = {"unsupported": "Unsupported", "not-performed": "Not Performed", "error": "Error"}

AIAST: Final[Json] = {"system": OBSERVATION_VALUE, "code": "AIAST", "display": "Artificial Intelligence asserted"}
TEST_DATA: Final[Json] = {"system": ACT_REASON, "code": "HTEST", "display": "test health data"}


def concept(code: Code) -> Json:
    """Return a CodeableConcept of our own CodeSystem."""
    return {"coding": [{"system": DEPTH, "code": code.value, "display": DISPLAY[code]}]}


def reason_concept(reason: RefusalReason) -> Json:
    """Return the reason, coded and in words."""
    return {"coding": [{"system": REASON, "code": reason.value, "display": IN_WORDS[reason]}], "text": IN_WORDS[reason]}


def caveat_concept(caveat: Caveat) -> Json:
    """Return the caveat, coded and in words."""
    return {"coding": [{"system": CAVEAT, "code": caveat.value, "display": CAVEAT_DISPLAY[caveat]}], "text": CAVEAT_DISPLAY[caveat]}


def absent_concept(reason: RefusalReason) -> Json:
    """Return FHIR's data-absent-reason with our reason in words."""
    code = "unsupported" if reason in _UNSUPPORTED else "not-performed" if reason in _NOT_PERFORMED else "error"
    return {"coding": [{"system": ABSENT, "code": code, "display": _ABSENT_DISPLAY[code]}], "text": IN_WORDS[reason]}


def tier_code(tier: Tier | None) -> Code:
    """Return the code of an evidence tier; a summary rests on E or says that there is none."""
    return Code.TIER_E if tier is Tier.E else Code.TIER_NONE
