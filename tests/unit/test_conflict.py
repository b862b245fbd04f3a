"""The state of disagreement is a fold over the case's records: what a scorer held is found again from them alone."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from anesthesia.limits import Limits
from anesthesia.prediction import RefusalReason
from services.depth_scorer.conflict import Conflict, conflict_after, says_nothing
from services.depth_scorer.verdict import after_model, before_model
from tests.unit.test_verdict import due, scored

LIMITS = Limits(conflict_s=5)
ANSWERS = st.sampled_from([45.0, 60.0, 70.0, 90.0, RefusalReason.MODEL_LATE, RefusalReason.MODEL_UNAVAILABLE, "odd", "no_eeg"])

CLEAN = due(bis=46.0)
WITHOUT_EEG = before_model(due(bis=46.0, covered_s=0), LIMITS)  # does not depend on the state


def run_of(answers):
    """Return the records of consecutive seconds with a BIS of 46, and the state before each of them and after the last."""
    records, states = [], [Conflict()]
    for second, answer in enumerate(answers):
        one = replace(CLEAN, conflict=states[-1], of=replace(CLEAN.of, second=second))
        model = scored(distance=2.0) if answer == "odd" else scored(answer) if isinstance(answer, float) else answer
        record, state = WITHOUT_EEG if answer == "no_eeg" else after_model(one, model, LIMITS)
        records.append(replace(record, of=one.of))
        states.append(state)
    return records, states


@settings(deadline=None)
@given(st.lists(ANSWERS, max_size=25))
def test_the_records_give_the_state_that_made_them(answers):
    records, states = run_of(answers)

    assert [conflict_after(records[:n], LIMITS) for n in range(len(records) + 1)] == states


@settings(deadline=None)
@given(st.lists(ANSWERS, max_size=40))
def test_the_newest_records_back_to_one_that_says_something_are_enough(answers):
    records, states = run_of(answers)
    last = len(records) - 1
    newest = []
    for record in reversed(records):
        newest.insert(0, record)
        if record.of.second <= last - LIMITS.conflict_s and not says_nothing(record):
            break

    found = conflict_after(newest, LIMITS)

    assert found.state(last + 1, LIMITS) == states[-1].state(last + 1, LIMITS)
    assert found.lasts(last + 1, LIMITS) == states[-1].lasts(last + 1, LIMITS)
