"""What an EHR's answers mean, which targets are allowed, how the broker's URL reads."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from random import Random

import pytest

from backbone.site import Mode
from services.ehr_writer.answers import Answer, judge, retry_after_s
from services.ehr_writer.delivery import Patience, backoff_s
from services.ehr_writer.ehr import Strategy, strategy_of
from services.ehr_writer.errors import BadTargets, EhrDown, EhrRefused, NeedsPeople
from services.ehr_writer.settings import broker_of
from services.ehr_writer.targets import TargetMode, origin_of, parse_targets

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
OUTCOME = b'{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"%s","diagnostics":"MRN 4711"}]}'

TARGET = """
[[target]]
name = "main"
base_url = "{url}"
mode = "{mode}"
auth = "none"
identifier_system = "urn:oid:1.2.3"
"""


@pytest.mark.parametrize("value", ["7", format_datetime(NOW + timedelta(seconds=7), usegmt=True)])
def test_retry_after_is_read_in_both_forms(value):
    assert retry_after_s(value, NOW) == 7.0


@pytest.mark.parametrize("value", [None, "soon", "-3", ""])
def test_an_unreadable_retry_after_says_nothing(value):
    assert retry_after_s(value, NOW) is None


def test_a_retry_after_of_days_is_bounded_by_an_hour():
    assert retry_after_s("999999", NOW) == 3600.0


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        *((status, EhrRefused) for status in (400, 404, 413, 422)),
        *((status, EhrDown) for status in (409, 429, 500, 503)),
        *((status, NeedsPeople) for status in (307, 401, 403, 412)),
    ],
)
def test_a_status_decides_between_later_never_and_people(status, fault):
    with pytest.raises(fault):
        judge(Answer(status, {}, b""), NOW)


def test_a_400_that_calls_itself_throttled_comes_back_later():
    with pytest.raises(EhrDown):
        judge(Answer(400, {}, OUTCOME % b"throttled"), NOW)


def test_a_200_with_an_outcome_of_errors_did_not_take_the_resource():
    with pytest.raises(EhrRefused):
        judge(Answer(200, {}, OUTCOME % b"invalid"), NOW)


def test_a_200_with_an_outcome_of_information_took_it():
    judge(Answer(200, {}, b'{"resourceType":"OperationOutcome","issue":[{"severity":"information","code":"informational"}]}'), NOW)


def test_the_text_of_a_fault_holds_no_word_of_the_server():
    with pytest.raises(EhrRefused) as caught:
        judge(Answer(422, {}, OUTCOME % b"invalid"), NOW)

    assert "4711" not in str(caught.value)
    assert "4711" in caught.value.words


@pytest.mark.parametrize(
    ("offers", "strategy"),
    [
        ({"updateCreate": True, "conditionalCreate": True, "interaction": [{"code": "update"}]}, Strategy.OWN_ID),
        ({"updateCreate": True, "conditionalCreate": True, "interaction": [{"code": "create"}]}, Strategy.CONDITIONAL),
        ({"conditionalCreate": True}, Strategy.CONDITIONAL),
        ({}, Strategy.SEARCH_FIRST),
    ],
)
def test_the_capability_statement_chooses_how_a_resource_is_stored_once(offers, strategy):
    capability = {"rest": [{"resource": [{"type": "Observation", **offers}]}]}

    assert strategy_of(capability, "Observation") is strategy


def test_backoff_grows_and_is_bounded():
    patience = Patience(30, 60, 60, backoff_s=2, longest_backoff_s=60, most_faults=8)

    longest = [max(backoff_s(n, patience, Random(seed)) for seed in range(200)) for n in (1, 3, 12)]

    assert longest[0] < 4.0 < longest[1] < 16.0 < longest[2] <= 60.0


def test_a_loopback_target_may_be_live_in_simulation():
    (target,) = parse_targets(TARGET.format(url="http://127.0.0.1:8105/fhir/", mode="live"), "t.toml", Mode.SIMULATION)

    assert target.mode is TargetMode.LIVE
    assert target.base_url == "http://127.0.0.1:8105/fhir"


@pytest.mark.parametrize(
    ("url", "mode"),
    [("https://ehr.example/fhir", Mode.SIMULATION), ("http://127.0.0.1/fhir", Mode.SILENT), ("http://[::1]/r4", Mode.STUDY)],
)
def test_any_other_live_target_is_refused_with_its_line(url, mode):
    with pytest.raises(BadTargets, match=r"t\.toml:5: target\.0\.mode: live needs go-live"):
        parse_targets(TARGET.format(url=url, mode="live"), "t.toml", mode)


def test_plain_http_to_another_machine_is_refused_with_its_line():
    with pytest.raises(BadTargets, match=r"t\.toml:4: target\.0\.base_url: .*http is for loopback only"):
        parse_targets(TARGET.format(url="http://ehr.example/fhir", mode="dry-run"), "t.toml", Mode.SIMULATION)


def test_an_unknown_key_is_refused_with_its_line():
    with pytest.raises(BadTargets, match=r"t\.toml:8: target\.0\.colour"):
        parse_targets(TARGET.format(url="https://ehr.example", mode="off") + 'colour = "red"\n', "t.toml", Mode.SIMULATION)


def test_the_default_mode_is_dry_run():
    text = TARGET.format(url="https://ehr.example", mode="off").replace('mode = "off"\n', "")

    assert parse_targets(text, "t.toml", Mode.STUDY)[0].mode is TargetMode.DRY_RUN


def test_a_token_is_bound_to_scheme_host_and_port():
    assert origin_of("https://EHR.example/fhir") == origin_of("https://ehr.example:443/token")
    assert len({origin_of(u) for u in ("https://ehr.example", "http://ehr.example", "https://ehr.example:8443", "https://x.example")}) == 4


def test_a_redis_socket_reads_as_kombu_wants_it():
    assert broker_of("unix:///run/sopor/valkey.sock?db=1") == "redis+socket:///run/sopor/valkey.sock?virtual_host=1"
    assert broker_of("redis://127.0.0.1:6379/1") == "redis://127.0.0.1:6379/1"
    with pytest.raises(ValueError, match="broker URL"):
        broker_of("http://127.0.0.1")
