"""The judge of a replay: decides a second anew, by the gate or the model, and says in what it differs from the record."""

from contextlib import AsyncExitStack
from typing import Final

from anesthesia.prediction import Prediction, Record, Refusal, RefusalReason
from cli.replay.outcome import Outcome, Replay, replay_of
from cli.replay.sources import ReplaySources
from services.depth_scorer import model_client
from services.depth_scorer.board import Due
from services.depth_scorer.conflict import says_nothing
from services.depth_scorer.verdict import Scored, Verdict, after_model, before_model

POINTS: Final = 1e-4  # two runs of one model on one window may differ by so much
MODEL_WITHIN_S: Final = 10.0


class Judge:
    """Decides each second anew and compares."""

    def __init__(self, sources: ReplaySources, stack: AsyncExitStack) -> None:
        """Ask the models through connections that the stack closes."""
        self._sources, self._stack = sources, stack
        self._clients: dict[str, model_client.ModelClient] = {}

    async def judged(self, record: Record, due: Due) -> Replay:
        """Return what the replay of one second came to."""
        limits = self._sources.rules.limits
        if due.window.input_hash != record.evidence.input_hash:
            return replay_of(record, Outcome.DIFFERENT_INPUT, "the archived entries give another window")
        verdict = before_model(due, limits)
        if verdict is None:
            if says_nothing(record):
                return replay_of(record, Outcome.EQUAL, "the model had not answered; the window is the same")
            answer = await (await self._client(record)).score(due.window)
            fault = _model_fault(record, answer)
            if fault:
                return replay_of(record, Outcome.DIFFERENT_MODEL, fault)
            verdict = after_model(due, answer, limits)
        difference = difference_of(record, verdict)
        return replay_of(record, Outcome.DIFFERENT_VALUE if difference else Outcome.EQUAL, difference)

    async def _client(self, record: Record) -> model_client.ModelClient:
        name = self._sources.model if record.model is None else record.model.name
        if name not in self._clients:
            connected = model_client.connect(self._sources.model_target, name, MODEL_WITHIN_S)
            self._clients[name] = await self._stack.enter_async_context(connected)
        return self._clients[name]


def _model_fault(record: Record, answer: Scored | RefusalReason) -> str:
    if isinstance(answer, RefusalReason):
        return "the model server does not answer, or has another model"
    if record.model is not None and answer.model.digest != record.model.digest:
        return "the model of this name has other bytes than the one of the record"
    return ""


def _came_to(record: Record) -> str:
    match record:
        case Prediction():
            return f"prediction of tier {record.tier}"
        case Refusal():
            return f"refusal {record.reason}"


def _numbers(record: Record) -> tuple[float, ...]:
    match record:
        case Prediction():
            return record.value, record.low, record.high
        case Refusal():
            return () if record.withheld_value is None else (record.withheld_value,)


def difference_of(record: Record, verdict: Verdict) -> str:
    """Return in words how a record differs from the one made again; empty when it does not."""
    again, _ = verdict
    if _came_to(record) != _came_to(again):
        return f"recorded as {_came_to(record)}, now {_came_to(again)}"
    then, now = _numbers(record), _numbers(again)
    apart = max((abs(a - b) for a, b in zip(then, now, strict=False)), default=0.0)
    if len(then) != len(now) or apart > POINTS:
        return f"value or interval differs by {apart:.4f} points"
    return ""
