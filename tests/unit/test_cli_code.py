"""`sopor code`: what is listed, what a proposed row does to a file, and who may approve it."""

import json
import os
import shutil

import pytest

from cli.audit_log import operator
from cli.main import run
from cli.mapping_draft import NoDraft, with_row, with_unit
from services.hl7_listener.mapping import parse_mapping
from services.hl7_listener.mapping_folder import SHIPPED

ROW = ("code=151708^MDC_CONC_AWAY_CO2_ET^MDC", "signal=etco2", "unit=266016^MDC_DIM_MMHG^MDC")
KEY = ("151708", "MDC_CONC_AWAY_CO2_ET", "MDC", "266016^MDC_DIM_MMHG^MDC")


@pytest.fixture
def mappings(tmp_path, monkeypatch):
    shutil.copytree(SHIPPED, tmp_path / "mappings")
    monkeypatch.setenv("SOPOR_MAPPINGS", str(tmp_path / "mappings"))
    monkeypatch.setenv("SOPOR_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("SOPOR_DATABASE_URL", raising=False)
    return tmp_path / "mappings"


@pytest.fixture
def sopor(capsys, monkeypatch):
    def ended(*arguments, by="ada"):
        monkeypatch.setattr("cli.code_change.operator", lambda: by)
        with pytest.raises(SystemExit) as end:
            run(("code", *arguments))
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return ended


def test_the_operator_is_the_account_and_not_what_the_environment_says(monkeypatch):
    monkeypatch.setenv("USER", "somebody_else")
    monkeypatch.setenv("LOGNAME", "somebody_else")

    assert operator() != "somebody_else"


def test_an_account_without_a_name_is_told_by_its_number(monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 987_654_321)

    assert operator() == "987654321"


def test_rows_are_listed_with_what_they_become(sopor, mappings):
    code, out, _ = sopor("list", "--mapping", "bbraun_space", "--json")

    rows = [json.loads(line) for line in out.splitlines()]
    rate = next(row for row in rows if row["becomes"] == "rate")
    assert code == 0
    assert (rate["mapping"], rate["kind"], rate["ucum"], rate["code_status"]) == ("bbraun_space", "pump", "mL/h", "standard")
    assert {row["code_status"] for row in rows} == {"standard"}


def test_without_a_name_all_mappings_are_listed(sopor, mappings):
    _, out, _ = sopor("list", "--json")

    assert {json.loads(line)["mapping"] for line in out.splitlines()} == {path.stem for path in SHIPPED.glob("*.yaml")}


def test_a_proposed_row_stands_in_the_candidate_and_not_in_the_live_file(sopor, mappings):
    code, out, err = sopor("map", "ge_carescape", *ROW, "--json")

    candidate = (mappings / "candidates" / "ge_carescape.yaml").read_bytes()
    assert (code, json.loads(out)["authors"], "somebody else approves" in err) == (0, ["ada"], True)
    assert parse_mapping(candidate, "c").row_of(KEY, "1.1").signal == "etco2"
    assert (mappings / "ge_carescape.yaml").read_bytes() == (SHIPPED / "ge_carescape.yaml").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("map", "ge_carescape"), 2, "give the fields of one row, or --file"),
        (("map", "ge_carescape", "code"), 2, "each word is FIELD=VALUE"),
        (("map", "ge_carescape", *ROW, "scale=much"), 2, "are numbers"),
        (("map", "ge_carescape", *ROW, "colour=red"), 3, "colour: Extra inputs are not permitted"),
        (("map", "ge_carescape", ROW[0], "signal=etco3", ROW[2]), 3, "'etco3' is no numeric signal"),
        (("map", "ge_carescape", ROW[0], "signal=spo2", ROW[2]), 3, "mm[Hg] is not convertible to %"),
        (("map", "nosuch", *ROW), 3, "nosuch.yaml: No such file"),
        (("list", "--mapping", "../keys"), 3, "no name of a mapping"),
        (("approve", "ge_carescape"), 1, "no change is proposed"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_proposed(sopor, mappings, arguments, code, said):
    ended, _, err = sopor(*arguments)

    assert (ended, said in err) == (code, True), err
    assert not (mappings / "candidates").exists()


def test_approving_first_shows_the_difference_and_changes_nothing(sopor, mappings):
    sopor("map", "ge_carescape", *ROW)

    code, out, err = sopor("approve", "ge_carescape", by="bea")

    assert (code, "--digest" in err) == (0, True)
    assert [line[:13] for line in out.splitlines() if line[:1] == "+"] == ["+++ candidate", "+  - { code: "]
    assert (mappings / "candidates" / "ge_carescape.yaml").exists()


def test_the_author_cannot_approve(sopor, mappings):
    _, out, _ = sopor("map", "ge_carescape", *ROW, "--json")

    code, _, err = sopor("approve", "ge_carescape", "--digest", json.loads(out)["digest"])

    assert (code, "ada wrote it" in err) == (1, True)


@pytest.mark.parametrize("digest", ["0" * 64, "", "{}"])
def test_only_the_digest_that_was_seen_is_approved(sopor, mappings, digest):
    _, out, _ = sopor("map", "ge_carescape", *ROW, "--json")
    short = json.loads(out)["digest"][:5]

    code, _, _ = sopor("approve", "ge_carescape", "--digest", digest.format(short) or short, by="bea")

    assert code == 2


def test_without_an_audit_log_nothing_goes_live(sopor, mappings):
    _, out, _ = sopor("map", "ge_carescape", *ROW, "--json")

    code, _, _ = sopor("approve", "ge_carescape", "--digest", json.loads(out)["digest"], by="bea")

    assert code == 4
    assert (mappings / "ge_carescape.yaml").read_bytes() == (SHIPPED / "ge_carescape.yaml").read_bytes()
    assert not (mappings / "approvals").exists()


# ---- rows in the text --------------------------------------------------------------------------------------------------------

TEXT = """# who wrote this
units: {} # none yet
numerics:
  # rates
  - { signal: a, code: b } # one
  - signal: c
    code: d

# what follows
passed_over: [ { code: x } ]
"""


def test_a_row_comes_behind_the_last_one_of_its_section_and_comments_stay():
    assert with_row(TEXT, "numerics", {"signal": "e", "scale": 2.0, "channel": r"\d\."}) == TEXT.replace(
        "    code: d\n", '    code: d\n  - { signal: "e", scale: 2.0, channel: "\\\\d\\\\." }\n'
    )


def test_a_section_that_is_empty_or_missing_is_begun():
    assert with_unit(TEXT, "1^A^B", "%") == TEXT.replace("units: {} # none yet", 'units:\n  "1^A^B": "%"')
    assert with_row(TEXT, "pump", {"code": "b"}) == TEXT + '\npump:\n  - { code: "b" }\n'


def test_a_section_in_one_line_is_left_to_its_author():
    with pytest.raises(NoDraft, match="written in one line"):
        with_row(TEXT, "passed_over", {"code": "b"})
