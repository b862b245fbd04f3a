"""The site file: every fault names its line."""

from pathlib import Path

import pytest

from anesthesia.reading import Bed
from backbone.site import BadSite, parse_site, read_site

DEMO = Path(__file__).parents[2] / "deploy" / "demo" / "sopor.toml"
TEXT = DEMO.read_text()


def fault_of(old: str, new: str) -> str:
    assert old in TEXT
    with pytest.raises(BadSite) as caught:
        parse_site(TEXT.replace(old, new, 1), "sopor.toml")
    return str(caught.value)


def line_of(needle: str) -> int:
    return next(n for n, line in enumerate(TEXT.splitlines(), 1) if needle in line)


def test_the_demo_site_is_right():
    site = read_site(DEMO)

    assert site.bed_of("OR^^3") == Bed("demo", "OR 3")
    assert all(bed.theatre and bed.adult_only for bed in site.bed)


@pytest.mark.parametrize(
    ("old", "new", "needle"),
    [
        ('mode = "simulation"', 'mode = "live"', "mode ="),
        ("interval_s = 60", "interval_s = -1", "interval_s = 60"),
        ("port = 2575", "port = 99999", "port ="),
        ('mapping = "philips_piic"', 'mapping = "philips_piic"\nzone = "Mars/Olympus"', 'mapping = "philips_piic"'),
    ],
)
def test_a_wrong_value_is_named_with_its_line(old, new, needle):
    fault = fault_of(old, new)

    line = line_of(needle) + ("zone" in new)
    assert f"sopor.toml:{line}:" in fault


def test_a_raw_name_of_two_beds_is_refused():
    assert "OR^^1" in fault_of('aliases = ["OR^^2"]', 'aliases = ["OR^^1"]')


def test_an_unknown_key_is_refused():
    assert "modus" in fault_of('mode = "simulation"', 'modus = "simulation"')


def test_no_toml_is_named_as_such():
    with pytest.raises(BadSite, match=r"sopor.toml:2: no valid TOML"):
        parse_site('site = "x"\nmode = ', "sopor.toml")


def test_a_study_without_its_owners_is_refused():
    assert "protocol_id" in fault_of('mode = "simulation"', 'mode = "study"')


def test_a_device_source_without_mapping_is_refused():
    assert "mapping" in fault_of('mapping = "mindray_egateway"\n', "")


def test_latency_defaults_to_one_second_for_waveforms_and_to_the_interval_for_numerics():
    site = read_site(DEMO)
    latency = {source.name: source.latency_s for source in site.source}

    assert latency["sim-mindray"] == 1.0
    assert latency["sim-philips-10s"] == 10.0


def test_a_missing_file_says_what_to_set(tmp_path):
    with pytest.raises(BadSite, match="SOPOR_SITE"):
        read_site(tmp_path / "none.toml")
