"""Every kind of resource that is written, judged by validators that are not ours.

`fhirkit` checks structure and dates; `pyrofile` with HL7's own R4 definitions checks invariants, bindings, references and our profiles. The
definitions are fetched by `deploy/fhir/definitions.sh`; where they are not, those cases say so and are skipped.
"""

import contextlib
import copy
import io
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import fhirkit
import pytest

from anesthesia.prediction import FIXED_TEXT, Caveat, RefusalReason
from services.ehr_writer import definitions
from services.ehr_writer.content import AuditSummary, frozen, kind_of, thawed
from services.ehr_writer.resources import (
    Subject,
    audit_observation,
    device_resource,
    provenance_of,
    summary_observation,
    withheld_observation,
)
from services.ehr_writer.summary import Counted, Leaves, Summary, Withheld
from services.ledger.checkpoint import Signer

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "deploy" / "fhir" / "package"
R4 = Path(sys.prefix) / "share" / "fhir-r4"
AT = datetime(2026, 11, 21, 1, 0, tzinfo=UTC)
START = int(AT.timestamp())
MODEL, DIGEST = "depth-eeg@0.1.0", "ab" * 32

NOTE = Signer(bytes(32)).sign(5500, bytes(range(32)))
COUNTED = Counted(START, START + 60, 60, 57, "cd" * 32, Leaves(7, 126, "ef" * 32))
SUMMARY = Summary(COUNTED, 47.25, 40.0, 55.0, 41.0, 60.5, tuple(Caveat), MODEL, DIGEST)
AUDIT = AuditSummary(START, START + 5400, 5000, 300, 100, 80, 10, 0, 1, ((MODEL, DIGEST),), Leaves(7, 5406, "ef" * 32), NOTE)
FULL = Subject(UUID(int=7), AT, AT, "sopor/audit/1f2e3d4c", "p1", "d1", simulated=True)
BARE = Subject(UUID(int=7), AT, AT, "sopor/audit/1f2e3d4c", "p1", None, provenance=False)


def kinds() -> dict[str, dict]:
    """Return one resource of each kind, with everything it can carry."""
    reasons = {f"withheld-{r.value}": withheld_observation(Withheld(COUNTED, r), FULL) for r in RefusalReason}
    return {
        "summary": summary_observation(SUMMARY, FULL),
        "summary-observation-only": summary_observation(SUMMARY, BARE),
        "withheld-observation-only": withheld_observation(Withheld(COUNTED, RefusalReason.NO_EEG), BARE),
        "audit": audit_observation(AUDIT, FULL),
        "device": device_resource(MODEL, DIGEST),
        "provenance": provenance_of(SUMMARY, FULL, "o1"),
        "provenance-of-withheld": provenance_of(Withheld(COUNTED, RefusalReason.CAUTERY), BARE, "o1"),
        **reasons,
    }


KINDS = kinds()
DEPTH = [name for name in KINDS if name.startswith(("summary", "withheld"))]
Judge = Callable[[dict, str | None], list[str]]


@pytest.fixture(scope="module")
def pyrofile() -> Judge:
    """Judges a resource, against one of our profiles where it is named; returns errors and warnings as text."""
    if not R4.is_dir():
        pytest.skip(f"HL7's R4 definitions are not in {R4}: run deploy/fhir/definitions.sh")
    from pyrofile_validator.config import ValidatorConfig
    from pyrofile_validator.core.engine import Validator

    settings = {"fhirVersion": "4.0.1", "localPackagePaths": [str(R4), str(PACKAGE)], "terminology": {"mode": "local"}}

    with contextlib.redirect_stdout(io.StringIO()):
        validator = Validator(ValidatorConfig.load_dict(settings))

    def judge(resource: dict, profile: str | None) -> list[str]:
        judged = copy.deepcopy(resource)
        if profile:
            judged.setdefault("meta", {})["profile"] = [profile]
        with contextlib.redirect_stdout(io.StringIO()):  # fhirpathpy prints traces
            report = validator.validate_resource(judged)
        return [f"{i.severity.value}: {i.path}: {i.message}" for i in report.issues]

    return judge


def errors(found: list[str]) -> list[str]:
    return [line for line in found if line.startswith(("error", "fatal"))]


@pytest.mark.parametrize("name", KINDS)
def test_fhirkit_finds_nothing_wrong(name):
    assert [str(issue.message) for issue in fhirkit.validate(KINDS[name])] == []


@pytest.mark.parametrize("name", [n for n in KINDS if not n.startswith("withheld-") or n.endswith(("no_eeg", "age_unknown", "cautery"))])
def test_pyrofile_with_hl7s_definitions_finds_no_error(pyrofile, name):
    assert errors(pyrofile(KINDS[name], None)) == []


@pytest.mark.parametrize("name", ["summary", "summary-observation-only", "withheld-no_eeg"])
def test_the_minute_keeps_its_profile(pyrofile, name):
    assert errors(pyrofile(KINDS[name], definitions.SUMMARY_PROFILE)) == []


def test_the_audit_summary_keeps_its_profile(pyrofile):
    assert errors(pyrofile(KINDS["audit"], definitions.AUDIT_PROFILE)) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda o: o.update(status="bogus"),
        lambda o: o.update(dataAbsentReason={"text": "beside a value"}),
        lambda o: o.update(performer=[{"reference": "Device/d1"}]),
        lambda o: o.update(valueString="two values"),
    ],
    ids=["status", "obs-6", "performer-device", "two-values"],
)
def test_pyrofile_would_find_a_planted_fault(pyrofile, spoil):
    spoiled = copy.deepcopy(KINDS["summary"])
    spoil(spoiled)

    assert errors(pyrofile(spoiled, None))


@pytest.mark.parametrize("element", ["identifier", "effectivePeriod", "note", "subject"])
def test_the_profile_would_find_a_missing_element(pyrofile, element):
    spoiled = {name: value for name, value in KINDS["summary"].items() if name != element}

    assert errors(pyrofile(spoiled, definitions.SUMMARY_PROFILE))


@pytest.mark.parametrize("spoil", [{"effectivePeriod": {"start": "2026-13-40"}}, {"statuss": "final"}], ids=["date", "unknown"])
def test_fhirkit_would_find_a_planted_fault(spoil):
    assert fhirkit.validate({**KINDS["summary"], **spoil})


@pytest.mark.parametrize("name", [n for n in DEPTH if not n.startswith("summary")])
def test_no_number_stands_in_a_withheld_minute(name):
    values = [part for part in KINDS[name]["component"] if "valueQuantity" in part]

    assert "valueQuantity" not in KINDS[name]
    assert {part["code"]["coding"][0]["code"] for part in values} == {"seconds-scored", "seconds-expected"}


@pytest.mark.parametrize("name", [*DEPTH, "audit", "device"])
def test_the_fixed_text_stands_with_every_resource(name):
    assert KINDS[name]["note"][0]["text"] == FIXED_TEXT


@pytest.mark.parametrize("name", [*DEPTH, "provenance"])
def test_the_ai_label_stands_on_every_resource(name):
    assert "AIAST" in {label["code"] for label in KINDS[name]["meta"]["security"]}


@pytest.mark.parametrize("name", DEPTH)
def test_nothing_is_called_bis_or_adequate_depth(name):
    words = str(KINDS[name]).replace("Adequate EEG", "").replace("No adequate EEG", "")

    assert "BIS" not in words
    assert "adequate" not in words.lower()


def test_an_observation_names_no_performer():
    assert all("performer" not in resource for resource in KINDS.values())


@pytest.mark.parametrize("content", [SUMMARY, Withheld(COUNTED, RefusalReason.STALE), AUDIT], ids=lambda c: type(c).__name__)
def test_what_is_frozen_thaws_to_the_same(content):
    assert thawed(kind_of(content), frozen(content)) == content


@pytest.mark.parametrize("name", definitions.definitions())
def test_the_package_is_what_the_code_says(name):
    assert (PACKAGE / name).read_text(encoding="utf-8") == definitions.text_of(definitions.definitions()[name])


@pytest.mark.parametrize("name", [n for n in definitions.definitions() if n.startswith(("CodeSystem", "StructureDefinition"))])
def test_the_definitions_are_valid_themselves(name):
    assert [issue.message for issue in fhirkit.validate(definitions.definitions()[name])] == []


def test_only_the_r4b_models_are_imported():
    sources = [path.read_text() for path in (ROOT / "services").rglob("*.py")]

    imported = {line for text in sources for line in text.splitlines() if line.startswith(("from fhir", "import fhir"))}

    assert imported
    assert all(line.startswith("from fhir.resources.R4B.") for line in imported)
