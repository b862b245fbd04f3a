"""Rates: who is within his own waits never, who is above waits until he is within it again, and no source waits for another."""

import pytest

from services.hl7_listener.rate import Rates


def test_a_source_within_its_rate_never_waits():
    rates = Rates(source_hz=10, strangers_hz=1)

    waits = [rates.spend("monitor", 500, 100 + n / 10) for n in range(50)]

    assert max(waits) == 0


def test_a_second_of_messages_at_once_is_free_and_more_waits_for_its_time():
    rates = Rates(source_hz=10, strangers_hz=1)

    waits = [rates.spend("monitor", 500, 100) for _ in range(30)]

    assert waits[:10] == pytest.approx([0] * 10)
    assert waits[-1] == pytest.approx(2.0)
    assert rates.spend("monitor", 500, 102) == pytest.approx(0.1)


def test_a_long_message_counts_as_several():
    rates = Rates(source_hz=10, strangers_hz=1)

    assert rates.spend("monitor", 40 * 16 * 1024, 100) == pytest.approx(3.1)


def test_strangers_share_one_rate_and_cost_no_source_its_own():
    rates = Rates(source_hz=10, strangers_hz=1)

    strangers = [rates.spend("", 500, 100) for _ in range(5)]

    assert strangers == pytest.approx([0, 1, 2, 3, 4])
    assert rates.spend("monitor", 500, 100) == 0
