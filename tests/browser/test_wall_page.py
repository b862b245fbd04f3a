"""The wall in a real browser: what people see, and what the page does when nobody tells it anything any more."""

import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from anesthesia.prediction import FIXED_TEXT, Caveat, RefusalReason
from tests.records import conflict, device, eeg, record, refusal

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        if os.environ.get("CI") and os.getuid() == 0:
            pytest.fail("chromium is not there: apt-get install chromium")
        pytest.skip("needs chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that must neither complain nor ask anyone but our server."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, color_scheme="dark")
    opened = context.new_page()
    opened.set_default_timeout(10_000)
    faults, asked = [], set()
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda message: faults.append(message.text) if "Content Security" in message.text else None)
    opened.on("request", lambda request: asked.add(request.url.split("/")[2]))
    yield opened
    context.close()
    assert not faults
    assert all(host.startswith("127.0.0.1:") for host in asked)


def _room(page: Page, bed: str):
    return page.locator(f'[data-bed="{bed}"]')


class Feed:
    """Records one room each second from a thread, two seconds behind, until it is told to stop."""

    def __init__(self, redis_url: str, make) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(redis_url, make))
        self._thread.start()

    def _run(self, redis_url: str, make) -> None:
        second = int(time.time()) - 3
        while not self._stop.is_set():
            while second < time.time() - 2:
                record(redis_url, make(second))
                second += 1
            self._stop.wait(0.1)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture
def feed(redis_url: str):
    feeds: list[Feed] = []

    def start(make) -> Feed:
        feeds.append(Feed(redis_url, make))
        return feeds[-1]

    yield start
    for one in feeds:
        one.stop()


def test_a_record_appears_with_interval_state_tier_age_and_caveats(page, start_web, feed):
    feed(lambda second: eeg("OR 1", second, 47.2, caveats=(Caveat.KETAMINE,)))

    page.goto(start_web().url)

    room = _room(page, "OR 1")
    expect(room.locator(".number")).to_have_text("47")
    expect(room.locator(".interval")).to_have_text("40\u201355")
    expect(room.locator(".label")).to_have_text("predicted depth index")
    expect(room.locator(".headline")).to_have_text("general-range (40-60)")
    expect(room.locator(".shape.filled")).to_be_visible()
    expect(room.locator(".tier")).to_have_text("E EEG")
    expect(room.locator(".caveats")).to_have_text("ketamine: may read high; do not deepen on it")
    expect(room.locator(".simulated")).to_be_visible()
    expect(room.locator(".age")).to_have_text(["data 2 s old"])
    expect(page.get_by_text("SIMULATION", exact=True)).to_be_visible()
    expect(page.get_by_text(FIXED_TEXT)).to_be_visible()


def test_a_refusal_is_told_in_words_and_takes_the_number_away(page, start_web, redis_url):
    web = start_web()
    now = int(time.time())
    record(redis_url, eeg("OR 1", now - 2))
    page.goto(web.url)
    room = _room(page, "OR 1")
    expect(room.locator(".number")).to_be_visible()

    record(redis_url, refusal("OR 1", now - 1, RefusalReason.LEAD_OFF))
    started = time.monotonic()
    expect(room.locator(".words")).to_have_text("EEG lead off")

    assert time.monotonic() - started < 0.5
    expect(room.locator(".number")).to_be_hidden()
    expect(room.locator(".scale")).to_be_hidden()
    expect(room.locator(".words")).to_have_attribute("aria-live", "polite")


def test_the_devices_own_value_is_labelled_and_ages_by_its_own_clock(page, start_web, feed):
    feed(lambda second: device("OR 5", second, second - second % 10))

    page.goto(start_web().url)

    room = _room(page, "OR 5")
    expect(room.locator(".name")).to_have_text("BIS")
    expect(room.locator(".number")).to_have_text("46")
    expect(room.locator(".label")).to_have_text("BIS, device")
    expect(room.locator(".headline")).to_have_text("device's own value")
    expect(room.locator(".interval")).to_be_hidden()
    expect(room.get_by_text("predicted depth index")).to_have_count(0)
    ages = set()
    for _ in range(12):
        ages.add(int(room.locator(".age").inner_text().split()[1]))
        page.wait_for_timeout(1000)
    assert max(ages) >= 9
    assert min(ages) >= 2


def test_a_room_without_eeg_shows_no_number(page, start_web, feed):
    feed(lambda second: refusal("OR 6", second, RefusalReason.NO_EEG, interval_s=60.0))

    page.goto(start_web().url)

    room = _room(page, "OR 6")
    expect(room.locator(".words")).to_have_text("no usable EEG")
    expect(room.locator(".feed")).to_have_text("data every 60 s")
    expect(room.locator(".number")).to_be_hidden()
    expect(room.locator(".tier")).to_be_hidden()


def test_a_conflict_shows_both_values_with_their_owners(page, start_web, feed):
    feed(lambda second: conflict("OR 4", second, model=52.0, bis=71.0))

    page.goto(start_web().url)

    room = _room(page, "OR 4")
    expect(room.locator(".words")).to_have_text("disagrees with the device's index")
    expect(room.locator(".both")).to_have_text("model 52  ·  BIS 71 (device)")
    expect(room.locator(".number")).to_be_hidden()


def test_suppression_is_told_with_its_ratio_and_the_refusal(page, start_web, feed):
    feed(lambda second: refusal("OR 1", second, RefusalReason.EMG_HIGH, suppression=34.0))

    page.goto(start_web().url)

    expect(_room(page, "OR 1").locator(".headline")).to_have_text("suppressed, SR 34 %")
    expect(_room(page, "OR 1").locator(".words")).to_have_text("muscle activity above 55 dB")


def test_when_the_feed_stops_the_number_goes_within_its_bound(page, start_web, redis_url):
    now = int(time.time())
    record(redis_url, eeg("OR 1", now - 1, bound_s=4.0))
    page.goto(start_web().url)
    room = _room(page, "OR 1")
    expect(room.locator(".number")).to_be_visible()

    gone = "headline => headline.innerText === 'NO DATA' && Date.now()"
    gone_ms = page.wait_for_function(gone, arg=room.locator(".headline").element_handle()).json_value()

    assert gone_ms - 1000 * now < 5000  # the bound, a look of the watchdog, and a busy machine
    expect(room.locator(".number")).to_be_hidden()
    expect(room.locator(".age")).to_contain_text("last data")


def test_a_frozen_server_empties_the_wall_and_a_thawed_one_fills_it_again(page, start_web, feed):
    web = start_web()
    feed(lambda second: eeg("OR 1", second, bound_s=60.0))
    page.goto(web.url)
    room = _room(page, "OR 1")
    expect(room.locator(".number")).to_be_visible()

    web.process.send_signal(signal.SIGSTOP)
    expect(room.locator(".headline")).to_have_text("NO DATA", timeout=5_000)
    expect(page.locator("#connection")).to_contain_text("No connection to the server")
    expect(room.locator(".number")).to_be_hidden()

    web.process.send_signal(signal.SIGCONT)
    expect(room.locator(".number")).to_be_visible()
    expect(page.locator("#connection")).to_be_hidden()


def test_a_server_that_ends_and_comes_back_is_found_again(page, start_web, feed, tmp_path):
    feed(lambda second: eeg("OR 1", second))
    web = start_web()
    page.goto(web.url)
    expect(_room(page, "OR 1").locator(".number")).to_be_visible()

    web.process.kill()

    expect(_room(page, "OR 1").locator(".headline")).to_have_text("NO DATA", timeout=5_000)
    expect(page.get_by_text(FIXED_TEXT)).to_be_visible()


def test_a_stopped_redis_empties_the_wall(page, start_web, redis_url, valkey):
    record(redis_url, eeg("OR 1", int(time.time()), bound_s=60.0))
    page.goto(start_web().url)
    expect(_room(page, "OR 1").locator(".number")).to_be_visible()

    valkey.stop()

    expect(_room(page, "OR 1").locator(".headline")).to_have_text("NO DATA", timeout=8_000)
    expect(page.locator("#connection")).to_contain_text("no records")
    valkey.start()


def test_a_browser_that_slept_shows_nothing_old(page, start_web, redis_url):
    now = int(time.time())
    record(redis_url, eeg("OR 1", now, bound_s=30.0))
    page.clock.install()
    page.goto(start_web().url)
    room = _room(page, "OR 1")
    expect(room.locator(".number")).to_be_visible()
    page.route("**/api/stream", lambda route: route.abort())

    page.clock.fast_forward("10:00")

    expect(room.locator(".headline")).to_have_text("NO DATA")
    expect(room.locator(".number")).to_be_hidden()


def test_a_data_time_in_the_future_is_no_data(page, start_web, redis_url):
    record(redis_url, eeg("OR 1", int(time.time()) + 30))

    page.goto(start_web().url)

    expect(_room(page, "OR 1").locator(".headline")).to_have_text("NO DATA")
    expect(_room(page, "OR 1").locator(".words")).to_have_text("its time lies in the future")


def test_what_the_ledger_has_not_is_marked(page, start_web, feed):
    feed(lambda second: eeg("OR 1", second))
    page.goto(start_web().url)

    expect(_room(page, "OR 1").locator(".unrecorded")).to_be_visible(timeout=15_000)
    expect(_room(page, "OR 1").locator(".number")).to_be_visible()


def test_the_wall_has_names_for_those_who_hear_it(page, start_web, feed):
    feed(lambda second: eeg("OR 1", second))
    page.goto(start_web().url)

    expect(page.get_by_role("list", name="Rooms").get_by_role("listitem")).to_have_count(6)
    expect(page.get_by_role("article", name="OR 1")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    heard = re.compile("last 15 minutes: index 47 to 47, scored [0-2] % of the time")
    expect(_room(page, "OR 1").get_by_role("img")).to_have_attribute("aria-label", heard, timeout=25_000)


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize(("name", "size"), [("wall", (1400, 900)), ("phone", (390, 844))])
def test_the_wall_fits_its_screen(browser, start_web, redis_url, scheme, name, size, tmp_path):
    now = int(time.time())
    long = (Caveat.NMB_OR_UNKNOWN, Caveat.KETAMINE)
    record(
        redis_url, *(eeg("OR 1", now - 200 + n) for n in range(200)), eeg("OR 2", now - 1, 38.0, caveats=long), eeg("OR 3", now - 1, 63.0)
    )
    record(redis_url, conflict("OR 4", now - 1, model=52.0, bis=71.0), device("OR 5", now - 1, now - 4))
    record(redis_url, refusal("OR 6", now - 1, RefusalReason.NO_EEG, interval_s=60.0))
    web = start_web()
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    page = context.new_page()
    page.goto(web.url)
    expect(_room(page, "OR 5").locator(".number")).to_be_visible()

    page.screenshot(path=tmp_path / f"{name}_{scheme}.png")

    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    cut = page.evaluate(
        """[...document.querySelectorAll('.body')].filter(e => e.scrollHeight > e.clientHeight + 1 || e.scrollWidth > e.clientWidth + 1)
           .map(e => e.innerText)"""
    )
    context.close()
    assert (overflow, cut) == (0, [])


def test_forty_rooms_fit_a_television(browser, start_web, redis_url, tmp_path):
    now = int(time.time())
    caveats = (Caveat.NMB_OR_UNKNOWN, Caveat.KETAMINE)
    record(redis_url, *(eeg(f"OR {n + 1}", now - 1, 20.0 + 1.7 * n, caveats=caveats) for n in range(40)))
    web = start_web(40)
    context = browser.new_context(viewport={"width": 1920, "height": 1080}, color_scheme="dark")
    page = context.new_page()
    page.goto(web.url)
    expect(page.locator(".number:visible")).to_have_count(40)

    page.screenshot(path=tmp_path / "television.png")

    cut = page.evaluate("Math.max(...[...document.querySelectorAll('.tile, .body')].map(e => e.scrollHeight - e.clientHeight))")
    scrolls = page.evaluate("(m => m.scrollHeight - m.clientHeight)(document.querySelector('main'))")
    context.close()
    assert cut <= 1
    assert scrolls == 0
