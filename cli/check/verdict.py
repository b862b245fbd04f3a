"""The verdict: what the accounts say together, and each rule that does not hold, in words. Pure."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cli.check.accounts import Accounts
from cli.check.figures import Figures, figures_of, journaled_of
from cli.check.written import differences_of

LEAST_SHARE: Final = 0.9
REPLAYED: Final = 20
SHOWN: Final = 3  # of many alike, so many are told


@dataclass(frozen=True, slots=True)
class Failure:
    """A rule that does not hold: which (one word or two), with which numbers, and what to do now."""

    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The numbers, and what is wrong with them."""

    figures: Figures
    failures: tuple[Failure, ...]

    @property
    def agrees(self) -> bool:
        """Tell whether every rule holds."""
        return not self.failures

    def as_data(self) -> dict[str, Any]:
        """Return it for a script."""
        return {**self.figures.as_data(), "agrees": self.agrees, "failures": [str(failure) for failure in self.failures]}

    def lines(self) -> list[str]:
        """Return it for a person."""
        of = self.figures
        word = "they agree" if self.agrees else f"they DO NOT agree: {len(self.failures)} rule(s) broken"
        return [
            f"messages            {of.sent} sent, {of.acked} acknowledged, {_known(of.journaled)} in the journal",
            f"expected seconds    {_known(of.expected_seconds)} in {of.rooms} rooms",
            f"recorded            {_told(of.scored, of.refused)}",
            f"scored from EEG     {_percent(of.scored_share_eeg_rooms)} of what could be ({_known(of.excluded_seconds)} s left out)",
            f"EHR, with a number  {_known(of.summaries_in_ehr)} of {_known(of.summaries_due)} minutes due",
            f"EHR, withheld       {_known(of.withheld_in_ehr)} of {_known(of.withheld_due)} minutes due",
            f"audit log           {_known(of.audit_leaves)} leaves, {_audit_word(of.audit_verified)}",
            f"computed again      {_known(of.replayed_equal)} of {REPLAYED} predictions came out the same",
            f"duplicates          {_known(of.duplicates)}",
            f"latency             {_known(of.p50_ms)} ms median, {_known(of.p99_ms)} ms at the 99th percentile, evidence to record",
            *(f"! {failure}" for failure in self.failures),
            f"verdict: {word}",
        ]


def _known(value: object) -> str:
    return "?" if value is None else str(value)


def _percent(share: float | None) -> str:
    return "?" if share is None else f"{100 * share:.1f} %"


def _told(scored: dict[str, int] | None, refused: dict[str, int] | None) -> str:
    if scored is None or refused is None:
        return "?"
    tiers = ", ".join(f"tier {tier} {count}" for tier, count in scored.items() if count)
    reasons = ", ".join(f"{reason} {count}" for reason, count in refused.items())
    return f"{tiers or 'no number'}; refused {sum(refused.values())}" + (f" ({reasons})" if reasons else "")


def _audit_word(verified: bool | None) -> str:
    return "not verified" if verified is None else "all verified" if verified else "CHANGED"


def _some(items: Iterable[object]) -> str:
    """Return the first few in words, and how many there are more."""
    listed = [str(item) for item in items]
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return "; ".join(listed[:SHOWN]) + more


def _clock(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%H:%M:%SZ}"


# ---- the rules ---------------------------------------------------------------------------------------------------------------


def _messages(accounts: Accounts, of: Figures) -> Iterator[Failure]:
    sent, journaled = accounts.sent, journaled_of(accounts)
    if not of.sent:
        yield Failure("messages", "none was sent: the log of device_simulator tells why")
    if of.sent != of.acked:
        text = f"{of.sent} sent, {of.acked} acknowledged: `sopor message list --quarantine` shows what was refused"
        yield Failure("messages", text)
    if journaled is None or accounts.journal is None:
        yield Failure("journal", "its files cannot be read: look at the state folder's `journal`")
        return
    if lost := sent.acknowledged - journaled:
        text = f"{len(lost)} message(s) were acknowledged but are not in it ({_some(sorted(lost))})"
        yield Failure("journal", f"{text}: the listener promised what it had not kept")
    if strange := journaled - sent.ids:
        yield Failure("journal", f"{len(strange)} message(s) are in the journal that the simulator did not send ({_some(sorted(strange))})")
    if accounts.journal.rows != len(accounts.journal.messages):
        yield Failure("journal", f"{accounts.journal.rows - len(accounts.journal.messages)} message(s) are in the journal twice")


def _seconds(accounts: Accounts, of: Figures) -> Iterator[Failure]:
    if accounts.records is None:
        yield Failure("records", "PostgreSQL did not answer: `sopor status` tells whether it and the ledger run")
        return
    recorded: dict[str, set[int]] = {}
    for record in accounts.records:
        recorded.setdefault(record.bed, set()).add(record.second)
    for name in sorted(accounts.sent.rooms.keys() | recorded.keys()):
        room = accounts.sent.rooms.get(name)
        expected = room.expected() if room else frozenset()
        if expected is None:
            yield Failure("records", f"{name}: no discharge was sent, so nobody knows how many seconds to expect")
            continue
        have = recorded.get(name, set())
        if missing := sorted(expected - have):
            yield Failure("records", f"{name}: {len(missing)} expected second(s) have no record, the first at {_clock(missing[0])}")
        if extra := sorted(have - expected):
            yield Failure("records", f"{name}: {len(extra)} record(s) that nobody expects, the first at {_clock(extra[0])}")
    if of.expected_seconds is not None and of.records != of.expected_seconds:
        yield Failure("records", f"{of.expected_seconds} seconds expected, {of.records} recorded (scored in any tier, or refused)")


def _faults(accounts: Accounts, _of: Figures) -> Iterator[Failure]:
    for text in accounts.course.not_made:
        yield Failure("faults", text)


def _share(accounts: Accounts, of: Figures) -> Iterator[Failure]:
    if accounts.records is None or of.expected_seconds is None or accounts.too_short:
        return
    share = accounts.share
    if share.value < LEAST_SHARE:
        text = f"{share.scored} of {share.expected} s of rooms with EEG are scored from it ({share.value:.3f})"
        yield Failure("scored share", f"{text}; at least {LEAST_SHARE:g} must be. The reasons of the refusals tell why")


def _streams(accounts: Accounts, _of: Figures) -> Iterator[Failure]:
    if accounts.streams is None:
        yield Failure("streams", "Valkey did not answer: `sopor status` tells whether it runs")
    elif accounts.lasted_s > accounts.ward.streams_keep_s:
        return  # the oldest entries are trimmed by now
    elif accounts.journal is not None and accounts.streams.entries != accounts.journal.entries:
        text = f"{accounts.journal.entries} entries in the journal, {accounts.streams.entries} of them in the streams"
        yield Failure("streams", f"{text}: the forwarder lost, or still holds, the rest")


def _ehr(accounts: Accounts, of: Figures) -> Iterator[Failure]:
    with_eeg = len(accounts.ward.eeg_rooms)
    if of.summaries_due is not None and of.summaries_due < with_eeg and not accounts.too_short:
        text = (
            f"{of.summaries_due} minute(s) with a number are due, in {with_eeg} rooms with EEG: too few seconds were scored in each minute"
        )
        yield Failure("minutes", text)
    if accounts.ehr is None:
        yield Failure("EHR", "it did not answer the search: `sopor status` tells whether it runs")
        return
    if accounts.records is not None and (found := [*differences_of(accounts, accounts.ehr)]):
        yield Failure("EHR", f"{len(found)} difference(s) between what is due and what a search finds: {_some(found)}")


def _duplicates(accounts: Accounts, of: Figures) -> Iterator[Failure]:
    if of.duplicates:
        in_streams = accounts.streams.doubled_entries + accounts.streams.doubled_records if accounts.streams else 0
        text = f"{of.duplicates} too many: {in_streams} in the streams, the others among Observations that share an identifier, or records"
        yield Failure("duplicates", text)


def _audit(accounts: Accounts, of: Figures) -> Iterator[Failure]:
    audited = accounts.audited
    if audited is None:
        yield Failure("audit log", "it could not be read: `sopor audit verify` tells more")
        return
    if audited.faults:
        yield Failure("audit log", f"{audited.faults} fault(s), it or what it speaks of was changed: {_some(audited.first)}")
    if of.records is not None and audited.leaves < of.records:
        yield Failure("audit log", f"{audited.leaves} leaves for {of.records} records: each must have one")


def _replay(accounts: Accounts, _of: Figures) -> Iterator[Failure]:
    replay = accounts.replay
    if replay is None:
        yield Failure("replay", "no prediction could be computed again: the archive or the model server did not answer")
    elif replay.equal < (replay.asked if accounts.too_short else REPLAYED):
        text = f"{replay.equal} of {replay.asked} predictions came out the same, {REPLAYED} must"
        yield Failure("replay", f"{text}: {_some(replay.differing)}" if replay.differing else text)


Rule = Callable[[Accounts, Figures], Iterator[Failure]]
COUNTS: Final[tuple[Rule, ...]] = (_faults, _messages, _seconds, _share, _ehr)  # of accounts that are cheap to read again and again
RULES: Final[tuple[Rule, ...]] = (*COUNTS, _streams, _duplicates, _audit, _replay)


def verdict_of(accounts: Accounts, rules: tuple[Rule, ...] = RULES) -> Verdict:
    """Return the verdict of the accounts; with `COUNTS` only of those that change while the last seconds come in."""
    figures = figures_of(accounts)
    return Verdict(figures, tuple(failure for rule in rules for failure in rule(accounts, figures)))
