"""The FHIR definitions of what is written, for EHRs and validators: `python -m services.ehr_writer.definitions deploy/fhir/package`."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from anesthesia.prediction import FIXED_TEXT, IN_WORDS
from services.ehr_writer import codes
from services.ehr_writer.codes import BASE, CAVEAT_DISPLAY, DISPLAY, Code, Json

VERSION: Final = "0.1.0"
DATE: Final = "2026-11-21"
R4: Final = "4.0.1"
PUBLISHER: Final = "The Sopor authors"
SUMMARY_PROFILE: Final = f"{BASE}/StructureDefinition/depth-summary"
AUDIT_PROFILE: Final = f"{BASE}/StructureDefinition/prediction-audit-summary"

# What a reader must know of a code beyond its display.
_MEANING: Final = {
    Code.INDEX: "0 (isoelectric) to 100 (awake), predicted from EEG: the median of the scored seconds of one UTC minute. Not measured.",
    Code.LOW: "Median of the lower bounds of the seconds' prediction intervals.",
    Code.HIGH: "Median of the upper bounds of the seconds' prediction intervals.",
    Code.SCORED: "Seconds with adequate EEG that the model scored. A summary needs 30 of 60.",
    Code.INPUT: "SHA-256 over second (8 bytes, big-endian) and input hash of each record of the minute, in order.",
    Code.LEAVES: "First and last of the records' leaves in the audit log (RFC 6962), as origin/first-last; others may lie between.",
    Code.LEAVES_HASH: "SHA-256 over the leaf hashes (32 bytes each) of the records, in order of their seconds.",
    Code.CHECKPOINT: "Root of the signed checkpoint, as hex.",
    Code.SIGNED: "The log's newest checkpoint when the case was counted (C2SP tlog-checkpoint), less the line end after its signature.",
    Code.DEVICE_INDEX: "Seconds in which only a device's own index was at hand; it is never written as ours.",
}


def _canonical(kind: str, name: str, title: str, description: str) -> Json:
    return {
        "resourceType": kind,
        "id": name,
        "url": f"{BASE}/{kind}/{name}",
        "version": VERSION,
        "name": "".join(part.capitalize() for part in name.split("-")),
        "title": title,
        "status": "draft",
        "experimental": False,
        "date": DATE,
        "publisher": PUBLISHER,
        "description": f"{description} {FIXED_TEXT}",
    }


def _code_system(name: str, title: str, description: str, concepts: Iterable[Json]) -> Json:
    found = list(concepts)
    shared = _canonical("CodeSystem", name, title, description)
    return {**shared, "caseSensitive": True, "content": "complete", "count": len(found), "concept": found}


def _depth_codes() -> Iterable[Json]:
    for code in Code:
        definition = {"definition": _MEANING[code]} if code in _MEANING else {}
        yield {"code": code.value, "display": DISPLAY[code], **definition}


def _element(path: str, **rules: object) -> Json:
    return {"id": path, "path": path, **rules}


def _profile(name: str, title: str, description: str, elements: list[Json]) -> Json:
    return {
        **_canonical("StructureDefinition", name, title, description),
        "fhirVersion": R4,
        "kind": "resource",
        "abstract": False,
        "type": "Observation",
        "baseDefinition": "http://hl7.org/fhir/StructureDefinition/Observation",
        "derivation": "constraint",
        "differential": {"element": [_element("Observation"), *elements]},
    }


def _shared_elements(code: Code) -> list[Json]:
    return [
        _element("Observation.identifier", min=1),
        _element("Observation.code", patternCodeableConcept=codes.concept(code)),
        _element("Observation.subject", min=1),
        _element("Observation.effective[x]", min=1, type=[{"code": "Period"}]),
        _element("Observation.issued", min=1),
        _element("Observation.note", min=1),
        _element("Observation.component", min=1),
    ]


def definitions() -> dict[str, Json]:
    """Return every file of the package by its name."""
    reasons = ({"code": reason.value, "display": words} for reason, words in IN_WORDS.items())
    caveats = ({"code": caveat.value, "display": words} for caveat, words in CAVEAT_DISPLAY.items())
    files = [
        _code_system("depth-of-anesthesia", "Depth of anesthesia", "What Sopor writes of one minute or one case.", _depth_codes()),
        _code_system("withheld-reason", "Reason for withholding", "Why no number is given.", reasons),
        _code_system("caveat", "Caveat", "Words that stand beside a number.", caveats),
        _profile("depth-summary", "Predicted depth, one minute", "One UTC minute, scored or withheld.", _shared_elements(Code.INDEX)),
        _profile("prediction-audit-summary", "Audit summary", "One closed case in numbers.", _shared_elements(Code.AUDIT)),
    ]
    named = {f"{resource['resourceType']}-{resource['id']}.json": resource for resource in files}
    return {"package.json": _package(), **named}


def _package() -> Json:
    return {
        "name": "sopor.fhir.depth",
        "version": VERSION,
        "description": f"Definitions of what Sopor writes to an EHR. {FIXED_TEXT}",
        "author": PUBLISHER,
        "license": "Apache-2.0",
        "canonical": BASE,
        "type": "fhir.ig",
        "fhirVersions": [R4],
        "dependencies": {"hl7.fhir.r4.core": R4},
    }


def text_of(content: Json) -> str:
    """Return a file's text."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def main(folder: Path) -> None:
    """Write the package."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in definitions().items():
        (folder / name).write_text(text_of(content), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
