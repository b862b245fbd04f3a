"""What the wall says of a room, and when it stops saying it."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from anesthesia.case import instant_of
from anesthesia.prediction import CAVEAT_IN_WORDS, FIXED_TEXT, IN_WORDS, Caveat, Evidence, Prediction, RefusalReason, Tier
from anesthesia.reading import Bed
from services.web.history import runs_of
from services.web.lag import LedgerLag
from services.web.settings import WebSettings
from services.web.wall import Kind, Wall, point_of, shown, view_of
from tests.records import SITE, conflict, device, eeg, refusal

SECOND = 1_800_000_000
RECORDED_MS = 1000 * (SECOND + 2)
STATIC = Path(__file__).parents[2] / "services" / "web" / "static"


def _wall(*beds: str) -> Wall:
    return Wall(tuple(Bed(SITE, bed) for bed in beds))


def test_every_bed_of_the_site_is_a_room_before_its_first_record():
    views = _wall("OR 1", "OR 2").views

    assert [(view.bed, view.kind, view.expires_ms) for view in views] == [("OR 1", Kind.EMPTY, 0), ("OR 2", Kind.EMPTY, 0)]


def test_a_prediction_is_shown_with_its_interval_and_ages_from_its_evidence():
    view = view_of(eeg("OR 1", SECOND, 47.2), RECORDED_MS)

    assert (view.kind, view.value, view.low, view.high, view.state) == (Kind.INDEX, 47, 40, 55, "general-range (40-60)")
    assert view.data_ms == 1000 * (SECOND + 1)
    assert view.expires_ms == view.data_ms + 10_000


@pytest.mark.parametrize(("bound_s", "until"), [(0.0, True), (-1.0, True), (float("nan"), True), (float("inf"), True), (10.0, False)])
def test_a_number_without_age_or_bound_is_never_current(bound_s, until):
    record = eeg("OR 1", SECOND)
    evidence = Evidence(record.evidence.observed_until if until else None, None, bytes(32), 1.0, bound_s)

    view = view_of(replace(record, evidence=evidence), RECORDED_MS)

    assert view.expires_ms <= (view.data_ms or 0)


def test_a_device_value_is_labelled_and_has_its_own_age():
    view = view_of(device("OR 5", SECOND, SECOND - 9), RECORDED_MS)

    assert (view.kind, view.value, view.low, view.state) == (Kind.DEVICE, None, None, "")
    assert view.device is not None
    assert (view.device.name, view.device.value, view.words) == ("BIS", 46, "no usable EEG")
    assert view.data_ms == 1000 * (SECOND - 9)
    assert view.expires_ms == 1000 * (SECOND - 9 + 30)


def test_a_device_value_is_never_younger_than_the_device_says():
    record = device("OR 5", SECOND, SECOND - 9)
    newer = replace(record, evidence=replace(record.evidence, observed_until=instant_of(SECOND + 1)))

    assert view_of(newer, RECORDED_MS).data_ms == 1000 * (SECOND - 9)


@pytest.mark.parametrize("reason", list(RefusalReason))
def test_every_refusal_is_told_in_words_and_without_a_number(reason):
    view = view_of(refusal("OR 1", SECOND, reason), RECORDED_MS)

    assert (view.kind, view.words) == (Kind.REFUSAL, IN_WORDS[reason])
    assert (view.value, view.device, view.withheld, view.tier) == (None, None, None, "")
    assert view.expires_ms == RECORDED_MS + 10_000


def test_a_refusal_of_old_data_stands_as_long_as_the_scorer_speaks():
    record = refusal("OR 1", SECOND, RefusalReason.STALE)
    old = replace(record, evidence=replace(record.evidence, observed_until=instant_of(SECOND - 300)))

    view = view_of(old, RECORDED_MS)

    assert view.expires_ms > RECORDED_MS
    assert view.data_ms == 1000 * (SECOND - 300)


def test_a_conflict_shows_both_values_and_no_third():
    view = view_of(conflict("OR 1", SECOND, model=52.0, bis=71.0), RECORDED_MS)

    assert view.device is not None
    assert (view.withheld, view.device.name, view.device.value, view.value) == (52, "BIS", 71, None)
    assert view.expires_ms == view.device.observed_ms + 10_000


def test_a_refusal_does_not_hide_suppression():
    view = view_of(refusal("OR 1", SECOND, RefusalReason.EMG_HIGH, suppression=34.6), RECORDED_MS)

    assert (view.kind, view.state, view.suppression, view.words) == (Kind.SUPPRESSED, "suppressed", 34, "muscle activity above 55 dB")


def test_suppression_stands_in_the_place_of_our_number():
    record = replace(eeg("OR 1", SECOND), suppression_ratio=12.0)

    assert view_of(record, RECORDED_MS).value is None
    assert point_of(record) is None


def test_an_expected_drug_effect_is_not_shown_as_depth():
    record = replace(eeg("OR 1", SECOND), tier=Tier.P)

    view = view_of(record, RECORDED_MS)

    assert (view.kind, view.value, view.words, point_of(record)) == (Kind.REFUSAL, None, "no usable EEG", None)


@pytest.mark.parametrize(("value", "integer"), [(47.2, 47), (47.5, 48), (59.6, 59), (79.9, 79), (39.7, 39), (99.8, 100), (0.2, 0)])
def test_the_integer_has_the_state_of_the_value(value, integer):
    assert shown(value) == integer


def test_every_caveat_has_words():
    assert set(CAVEAT_IN_WORDS) == set(Caveat)
    assert "can read low in an awake paralysed patient" in CAVEAT_IN_WORDS[Caveat.NMB_OR_UNKNOWN]
    assert "may read high; do not deepen on it" in CAVEAT_IN_WORDS[Caveat.KETAMINE]


def test_a_room_never_goes_back_in_time():
    wall = _wall("OR 1")
    wall.fold(eeg("OR 1", SECOND, 50.0), RECORDED_MS)

    assert wall.fold(eeg("OR 1", SECOND - 1, 20.0), RECORDED_MS) is None
    assert wall.views[0].value == 50


def test_a_bed_of_elsewhere_is_no_room():
    wall = _wall("OR 1")

    assert wall.fold(eeg("OR 9", SECOND), RECORDED_MS) is None
    assert not wall.knows(Bed("other", "OR 1"))


def test_the_trend_breaks_where_a_second_is_missing_or_the_tier_changes():
    scored = [_scored(eeg("OR 1", second)) for second in (5, 6, 9)] + [_scored(device("OR 1", 10, 10))]

    assert [(run.tier, run.start, len(run.values)) for run in runs_of(scored)] == [("E", 5, 2), ("E", 9, 1), ("D", 10, 1)]


def _scored(record: Prediction):
    from backbone.database import Scored

    return Scored(record.of.second, record.tier, record.value, record.low, record.high)


def test_what_is_not_recorded_after_five_seconds_is_told():
    lag = LedgerLag()
    lag.saw(3, "1000-0")
    lag.saw(4, "1000-0")
    lag.told({3: "1000-0"})

    assert [sorted(lag.behind(float(now_s))) for now_s in range(7)] == [[], [], [], [], [], [4], [4]]


def test_a_silent_database_makes_what_is_new_count_as_not_recorded():
    lag = LedgerLag()
    lag.told({3: "1000-0"})
    for now_s in range(10):
        lag.saw(3, f"{1000 + 1000 * now_s}-0")
        behind = lag.behind(float(now_s))

    assert behind == frozenset({3})


def test_a_ledger_one_second_behind_is_not_late():
    lag = LedgerLag()
    for now_s in range(10):
        lag.saw(3, f"{5000 + 1000 * now_s}-0")
        lag.told({3: f"{4000 + 1000 * now_s}-0"})
        behind = lag.behind(float(now_s))

    assert behind == frozenset()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
def test_without_a_login_only_loopback_is_served(host, tmp_path):
    with pytest.raises(ValueError, match="no login yet"):
        WebSettings(site=tmp_path, redis_url="redis://x", database_url="postgresql://x/y", host=host)


def test_the_fixed_text_stands_in_the_page_itself():
    page = (STATIC / "index.html").read_text(encoding="utf-8")

    assert FIXED_TEXT in page
    assert "<strong>SIMULATION</strong>" in page


def test_the_wall_is_small_and_asks_no_one_else():
    import gzip
    import re

    files = [STATIC / name for name in ("index.html", "style.css", "wall.js", "mark.svg")]

    assert sum(len(gzip.compress(file.read_bytes())) for file in files) <= 60_000
    hosts = {host for file in files for host in re.findall(r"https?://([^/\"']+)", file.read_text(encoding="utf-8"))}
    assert hosts <= {"www.w3.org"}  # the name of SVG, never asked for


def test_no_style_or_script_stands_inside_the_page():
    import re

    page = (STATIC / "index.html").read_text(encoding="utf-8")

    assert not re.search(r"\sstyle=|<style|\son\w+=|<script(?![^>]*\ssrc=)", page)


def test_ages_keep_to_the_evidence_of_slow_feeds():
    slow = device("OR 5", SECOND, SECOND - 59, interval_s=60.0)

    view = view_of(slow, RECORDED_MS + 60_000)

    assert view.data_ms == 1000 * (SECOND - 59)
    assert timedelta(milliseconds=view.expires_ms - view.data_ms) == timedelta(seconds=180)
