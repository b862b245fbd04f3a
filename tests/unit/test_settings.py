"""A wrong setting ends the process and is named."""

import pytest
from pydantic_settings import SettingsConfigDict

from backbone.settings import EXIT_CONFIG, ProcessSettings, read_settings


class Planted(ProcessSettings):
    model_config = SettingsConfigDict(env_prefix="SOPOR_PLANTED_")

    port: int
    name: str = "x"


def ends(capsys) -> str:
    with pytest.raises(SystemExit) as end:
        read_settings(Planted)
    assert end.value.code == EXIT_CONFIG
    return capsys.readouterr().err


def test_a_wrong_value_names_its_variable(monkeypatch, capsys):
    monkeypatch.setenv("SOPOR_PLANTED_PORT", "many")

    assert "SOPOR_PLANTED_PORT" in ends(capsys)


def test_a_missing_variable_is_named(monkeypatch, capsys):
    monkeypatch.delenv("SOPOR_PLANTED_PORT", raising=False)

    assert "SOPOR_PLANTED_PORT" in ends(capsys)


def test_a_mistyped_variable_is_named(monkeypatch, capsys):
    monkeypatch.setenv("SOPOR_PLANTED_PORT", "1")
    monkeypatch.setenv("SOPOR_PLANTED_NMAE", "y")

    assert "SOPOR_PLANTED_NMAE" in ends(capsys)


def test_right_settings_are_frozen(monkeypatch):
    monkeypatch.setenv("SOPOR_PLANTED_PORT", "7")

    settings = read_settings(Planted)

    assert settings.port == 7
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 8
