"""Asks everyone: log, journal, streams, ledger, EHR, audit log, archive. Blocking, each with its own bounds; who does not answer is None.

What only the end of a demo needs (clients of servers, NumPy, the scorer's parts) is imported then: a demo need not carry it for hours.
"""

from dataclasses import dataclass, replace
from random import Random

from anesthesia.errors import SoporError
from backbone.site import SiteFile
from backbone.supervisor.ehr import EhrAccess
from backbone.supervisor.records import read_records
from backbone.supervisor.state import State
from backbone.supervisor.table import simulator_log
from cli.check.accounts import Accounts, Audited, Course, Replay, Ward
from cli.check.ehr import read_ehr
from cli.check.journal import read_journal
from cli.check.sent import Sent, sent_of
from cli.check.streams import read_streams
from cli.check.verdict import COUNTS, REPLAYED, Verdict, verdict_of


@dataclass(frozen=True, slots=True)
class Sources:
    """Where everyone is."""

    place: State
    site: SiteFile
    redis_url: str
    database_url: str
    ehr: EhrAccess
    ward: Ward

    def counts(self, course: Course) -> Verdict:
        """Return the verdict of what changes while the last seconds come in."""
        return verdict_of(self._counted(course), COUNTS)

    def whole(self, course: Course) -> Verdict:
        """Return the whole verdict: some seconds of work."""
        return verdict_of(self.accounts(course))

    def first_sent_s(self) -> float | None:
        """Return when the first message was sent (Unix seconds); None: none yet."""
        return self._sent().first_sent_s

    def accounts(self, course: Course) -> Accounts:
        """Return every account."""
        return replace(
            self._counted(course),
            streams=read_streams(self.redis_url),
            audited=audited_in(self.database_url, self.place),
            replay=self._replayed(),
        )

    def _counted(self, course: Course) -> Accounts:
        return Accounts(
            ward=self.ward,
            sent=self._sent(),
            course=course,
            journal=read_journal(self.place.journal),
            records=read_records(self.database_url),
            ehr=read_ehr(self.ehr),
        )

    def _sent(self) -> Sent:
        try:
            lines = simulator_log(self.place).read_text(encoding="utf-8").splitlines()
        except OSError:
            lines = []
        return sent_of(lines, self.ward.eeg_rooms)

    def _replayed(self) -> Replay | None:
        from cli.replay.replays import replay
        from cli.replay.sources import running_sources

        try:
            found = replay(running_sources(self.place, self.site, self.database_url), REPLAYED, Random(), wait_s=0.0)
        except (SoporError, OSError):
            return None
        return Replay(found.asked, found.equal, tuple(f"{one.outcome} {one.text}".strip() for one in found.differing))


def audited_in(database_url: str, place: State) -> Audited | None:
    """Return what an audit of the whole log and of the input archive comes to; None when it, or its public key, cannot be read."""
    from backbone.audit import snapshot
    from services.ledger.checkpoint import PUBLIC, public_key
    from services.ledger.verify import Audit

    try:
        with snapshot(database_url) as found:
            report = Audit(found, public_key(place.keys / PUBLIC), archive=place.archive).run()
    except SoporError:
        return None
    first = tuple(f"{fault.what} at leaf {fault.index}, second {fault.second}: {fault.text}" for fault in report.faults)
    return Audited(report.leaves, report.records, report.fault_count, first)
