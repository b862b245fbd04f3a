"""Timestamps of devices, and clocks that are off, step or drift."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.hl7_listener.device_time import TO_THE_MINUTE, TO_THE_SECOND, BadTime, Clocks, SourceClock, instant_of, instant_told

NOW = datetime(2026, 11, 21, 3, 45, tzinfo=UTC)
UTC_ZONE, VIENNA = ZoneInfo("UTC"), ZoneInfo("Europe/Vienna")


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20261121034500.123+0000", NOW + timedelta(milliseconds=123)),
        ("20261121034500.1234", NOW + timedelta(microseconds=123_400)),
        ("20261121114500250+0800", NOW + timedelta(milliseconds=250)),
        ("202611210345", NOW),
        ("20261121034500", NOW),
        ("20261120224500-0500", NOW),
    ],
)
def test_every_shape_that_was_seen_is_read(text, expected):
    assert instant_of(text, UTC_ZONE, NOW) == expected


@pytest.mark.parametrize(
    "text", ["", "20261121", "20261321034500", "20261121034500.12345", "2026112103450x", "20261121034500+9900", "٢٠٢٦١١٢١٠٣٤٥"]
)
def test_what_is_no_time_raises(text):
    with pytest.raises(BadTime):
        instant_of(text, UTC_ZONE, NOW)


@pytest.mark.parametrize("text", ["", "2026", "202611", "20261121", "2026112103", "2026112103+0100", "202611210345", "202611210345+0000"])
def test_a_time_that_ends_before_the_second_is_no_clock(text):
    assert instant_told(text, UTC_ZONE, NOW, digits=TO_THE_SECOND) is None


def test_a_time_to_the_minute_still_says_when_people_did_something():
    assert instant_told("202611210345", UTC_ZONE, NOW, digits=TO_THE_MINUTE) == NOW
    assert instant_told("20261121034500", UTC_ZONE, NOW, digits=TO_THE_SECOND) == NOW


@pytest.mark.parametrize(
    "text", ["20261131", "202613", "2026112125", "01/15/2025", "2026-11-21T03:45:00", "20261121+9900", "1", "20261121034"]
)
def test_a_coarse_text_that_is_no_time_raises_all_the_same(text):
    with pytest.raises(BadTime):
        instant_told(text, UTC_ZONE, NOW, digits=TO_THE_SECOND)


def test_a_time_without_a_zone_is_the_sources_local_time():
    assert instant_of("20261121044500", VIENNA, NOW) == NOW


@pytest.mark.parametrize("hour", [0, 1])
def test_the_repeated_hour_is_the_one_nearer_to_the_receipt(hour):
    truth = datetime(2026, 10, 25, hour, 30, tzinfo=UTC)

    assert instant_of("20261025023000", VIENNA, truth + timedelta(seconds=3)) == truth


@given(st.integers(946_684_800_000, 4_000_000_000_000))
def test_a_written_instant_is_read_again(unix_ms):
    instant = datetime.fromtimestamp(unix_ms // 1000, UTC) + timedelta(milliseconds=unix_ms % 1000)
    text = f"{instant:%Y%m%d%H%M%S}.{unix_ms % 1000:03d}+0000"

    assert instant_of(text, VIENNA, NOW) == instant


def test_a_difference_below_two_seconds_is_transport():
    assert SourceClock().hear(after(-1.9), NOW).offset_s == 0.0


@pytest.mark.parametrize("error_s", [-86_400.0, -5.0, 3.0, 40_000.0])
def test_a_stable_offset_is_corrected_however_large_and_stays_frozen(error_s):
    clock = SourceClock()

    heard = [clock.hear(after(n + error_s - 0.01 * (n % 3)), after(n)) for n in range(200)]

    assert {h.offset_s for h in heard} == {-error_s}
    assert all(h.trusted and not h.stepped for h in heard)


def test_a_step_forward_begins_a_new_segment_when_it_stays_and_is_not_trusted_before():
    clock = SourceClock()
    clock.hear(NOW, NOW)

    heard = [clock.hear(after(100 + n + 3600), after(100 + n)) for n in range(10)]

    assert [h.stepped for h in heard].index(True) == 5
    assert [h.trusted for h in heard] == [False] * 5 + [True] * 5
    assert heard[-1].offset_s == -3600.0


@pytest.mark.parametrize("error_s", [600.0, -600.0])
def test_one_stray_message_moves_nothing_for_the_others(error_s):
    clock = SourceClock()
    clock.hear(NOW, NOW)

    stray = clock.hear(after(10 + error_s), after(10))
    heard = [clock.hear(after(10 + n), after(10 + n)) for n in range(1, 30)]

    assert stray.trusted == (error_s < 0)  # late data keeps its time; data from the future has none
    assert all(h.trusted and not h.stepped and h.offset_s == 0.0 for h in heard)


def test_a_step_back_begins_a_new_segment_when_it_stays():
    clock = SourceClock()
    clock.hear(NOW, NOW)

    heard = [clock.hear(after(100 + n - 3600), after(100 + n)) for n in range(10)]

    assert [h.stepped for h in heard].index(True) == 5
    assert heard[-1].offset_s == 3600.0


def test_messages_that_were_held_back_are_late_and_no_step():
    clock = SourceClock()
    clock.hear(NOW, NOW)

    heard = [clock.hear(after(n), after(60 + 0.01 * n)) for n in range(1, 58)]

    assert not any(h.stepped for h in heard)


@pytest.mark.parametrize("drift", [0.1, -0.1])
def test_a_clock_that_drifts_faster_than_two_seconds_a_minute_is_not_trusted(drift):
    clock = SourceClock()

    heard = [clock.hear(after(n * (1 + drift)), after(n)) for n in range(120)]

    assert not heard[-1].trusted


def test_a_clock_is_trusted_again_after_a_quiet_minute():
    clock = SourceClock()
    for n, error_s in enumerate([0, 100, 200]):
        clock.hear(after(n + error_s), after(n))

    heard = [clock.hear(after(n + 200), after(n)) for n in range(3, 80)]

    assert not heard[0].trusted
    assert heard[-1].trusted


def test_a_message_without_a_time_gets_the_offset_that_is_known():
    clocks = Clocks({})
    clocks.of("a").hear(after(-30), NOW)

    assert clocks.of("a").hear(None, NOW).offset_s == 30.0
    assert clocks.of("b").hear(None, NOW).offset_s == 0.0
