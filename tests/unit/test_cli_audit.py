"""`sopor audit`: what it says when there is nothing to read."""

import pytest

from cli.main import run
from services.ledger.checkpoint import PUBLIC, Signer

ROOT = bytes(32)


@pytest.fixture
def sopor(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("SOPOR_STATE", str(tmp_path))
    monkeypatch.delenv("SOPOR_DATABASE_URL", raising=False)

    def ended(*arguments):
        with pytest.raises(SystemExit) as end:
            run(["audit", *arguments])
        said = capsys.readouterr()
        return int(end.value.code), said.out, said.err

    return ended


@pytest.fixture
def key(tmp_path):
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / PUBLIC).write_text(Signer(b"\7" * 32).key.text())


def test_without_a_public_key_the_command_says_which_option_helps(sopor):
    code, _, err = sopor("verify")

    assert code == 6
    assert "--key FILE" in err


def test_where_nothing_runs_the_command_says_how_to_start_it(sopor, key):
    code, _, err = sopor("verify")

    assert code == 4
    assert "SOPOR_DATABASE_URL" in err


def test_a_database_that_does_not_answer_ends_with_4(sopor, key, monkeypatch, tmp_path):
    monkeypatch.setenv("SOPOR_DATABASE_URL", f"postgresql://nobody@/none?host={tmp_path}")

    code, _, err = sopor("verify")

    assert code == 4
    assert "no audit log can be read" in err


def test_a_proof_without_a_leaf_is_a_wrong_use(sopor):
    assert sopor("show", "--proof")[0] == 2


def test_a_checkpoint_that_another_key_signed_ends_with_7(sopor, key, tmp_path):
    kept = tmp_path / "kept"
    kept.write_text(Signer(b"\x08" * 32).sign(5, ROOT))

    code, _, err = sopor("verify", "--against", str(kept))

    assert code == 7
    assert "of another log" in err


def test_a_checkpoint_that_is_not_there_ends_with_6(sopor, key, tmp_path):
    assert sopor("verify", "--against", str(tmp_path / "none"))[0] == 6
