"""A mapping goes live only when somebody approves it who wrote none of it; the listener then uses the new bytes, and no others."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backbone.site import parse_site
from services.hl7_listener.mapping import BadMapping, read_mapping
from services.hl7_listener.mapping_folder import SHIPPED, Approval, MappingFolder, NotApprovable, codes_of, digest_of
from services.hl7_listener.mapping_watch import MappingWatch

NOW = datetime(2026, 11, 21, 3, 45, tzinfo=UTC)
NAME = "ge_carescape"
BEFORE = (SHIPPED / f"{NAME}.yaml").read_bytes()
AFTER = BEFORE + b"# one line more\n"
DEMO = (SHIPPED.parent / "demo" / "sopor.toml").read_text()
SILENT = (
    DEMO.replace('mode = "simulation"', 'mode = "silent"').replace('"mindray_egateway"', f'"{NAME}"').replace('"philips_piic"', f'"{NAME}"')
)


@pytest.fixture
def folder(tmp_path: Path) -> MappingFolder:
    shutil.copytree(SHIPPED, tmp_path / "mappings")
    return MappingFolder(tmp_path / "mappings")


def approved(folder: MappingFolder, data: bytes = AFTER, *, by: str = "bea") -> Approval:
    folder.propose(NAME, data, "ada", NOW)
    approval = folder.agreed(NAME, digest_of(data), by, NOW)
    folder.make_live(approval)
    return approval


def test_a_proposal_changes_nothing_that_is_live(folder):
    proposal = folder.propose(NAME, AFTER, "ada", NOW)

    assert folder.path(NAME).read_bytes() == BEFORE
    assert (proposal.authors, proposal.digest, proposal.replaces) == (("ada",), digest_of(AFTER), digest_of(BEFORE))


def test_an_approved_candidate_is_live_and_says_who_wrote_and_who_approved_it(folder):
    approved(folder)

    found = folder.approval_of(NAME, digest_of(AFTER))
    assert folder.path(NAME).read_bytes() == AFTER
    assert found is not None
    assert (found.authors, found.approver) == (("ada",), "bea")
    with pytest.raises(NotApprovable, match="no change is proposed"):
        folder.proposed(NAME)


def test_nobody_approves_what_he_wrote_even_where_another_wrote_on(folder):
    folder.propose(NAME, AFTER, "ada", NOW)
    folder.propose(NAME, AFTER + b"# and another\n", "bea", NOW)

    for author in ("ada", "bea"):
        with pytest.raises(NotApprovable, match=f"{author} wrote it"):
            folder.agreed(NAME, digest_of(AFTER + b"# and another\n"), author, NOW)


def test_what_was_edited_after_it_was_proposed_cannot_be_approved(folder, tmp_path):
    folder.propose(NAME, AFTER, "ada", NOW)
    (tmp_path / "mappings" / "candidates" / f"{NAME}.yaml").write_bytes(BEFORE)

    with pytest.raises(NotApprovable, match="changed after it was proposed"):
        folder.agreed(NAME, digest_of(AFTER), "bea", NOW)


def test_a_candidate_made_from_an_older_live_file_cannot_be_approved(folder):
    folder.propose(NAME, AFTER, "ada", NOW)
    folder.path(NAME).write_bytes(BEFORE + b"# somebody was faster\n")

    with pytest.raises(NotApprovable, match="changed since the candidate was made"):
        folder.agreed(NAME, digest_of(AFTER), "bea", NOW)


def test_a_wrong_file_cannot_even_be_proposed(folder):
    with pytest.raises(BadMapping, match=rf"{NAME}\.yaml:\d+: "):
        folder.propose(NAME, AFTER.replace(b"spo2", b"spo3"), "ada", NOW)


def test_the_files_that_come_with_sopor_stay_as_they_are():
    with pytest.raises(NotApprovable, match="SOPOR_MAPPINGS"):
        MappingFolder(SHIPPED).propose(NAME, AFTER, "ada", NOW)


def test_a_name_never_leaves_the_folder(folder):
    with pytest.raises(BadMapping, match="no name of a mapping"):
        folder.draft("../keys/identity")


# ---- at the start ------------------------------------------------------------------------------------------------------------


def test_where_patients_are_real_an_edited_file_needs_an_approval(folder, tmp_path):
    site = parse_site(SILENT, "sopor.toml")
    folder.path(NAME).write_bytes(AFTER)

    with pytest.raises(BadMapping, match="nobody approved this file as it is"):
        codes_of(site, tmp_path / "mappings")
    assert codes_of(parse_site(SILENT.replace('"silent"', '"simulation"'), "sopor.toml"), tmp_path / "mappings").keys() == {NAME}


def test_where_patients_are_real_shipped_and_approved_files_are_used(folder, tmp_path):
    site = parse_site(SILENT, "sopor.toml")

    shipped = codes_of(site, tmp_path / "mappings")
    approved(folder)

    assert shipped[NAME].digest == digest_of(BEFORE)
    assert codes_of(site, tmp_path / "mappings")[NAME].digest == digest_of(AFTER)


@pytest.mark.parametrize(
    "change",
    [{"approver": "ada"}, {"authors": []}, {"mapping": "capsule"}, {"digest": "0" * 64}, {"surprise": 1}],
)
def test_an_approval_that_does_not_hold_is_none(folder, tmp_path, change):
    approval = approved(folder)

    path = tmp_path / "mappings" / "approvals" / f"{approval.digest}.json"
    path.write_text(str({**approval.model_dump(mode="json"), **change}).replace("'", '"'))

    assert folder.approval_of(NAME, approval.digest) is None


# ---- while it runs -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def watch(folder) -> MappingWatch:
    return MappingWatch(folder, {NAME: read_mapping(SHIPPED, NAME)})


def test_a_running_listener_takes_up_what_was_approved_once(folder, watch):
    before = watch.changed()

    approved(folder)

    assert before == {}
    assert {name: codes.digest for name, codes in watch.changed().items()} == {NAME: digest_of(AFTER)}
    assert watch.changed() == {}


@pytest.mark.parametrize("data", [AFTER, BEFORE[:100], b""])
def test_a_running_listener_takes_up_nothing_that_nobody_approved(folder, watch, data):
    folder.path(NAME).write_bytes(data)

    assert watch.changed() == {}


def test_a_file_that_is_away_and_comes_back_changes_nothing(folder, watch):
    folder.path(NAME).unlink()
    away = watch.changed()

    folder.path(NAME).write_bytes(BEFORE)

    assert (away, watch.changed()) == ({}, {})


def test_what_was_approved_between_reading_and_watching_is_taken_up(folder):
    codes = {NAME: read_mapping(SHIPPED, NAME)}
    approved(folder)

    assert MappingWatch(folder, codes).changed()[NAME].digest == digest_of(AFTER)
