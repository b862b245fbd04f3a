"""Cases as the ledger would have stored them, for tests of the EHR writer. Instants are whole UTC seconds."""

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import Engine, insert, update

from anesthesia.prediction import RefusalReason, Tier
from backbone.ehr_tables import IdentityRow
from backbone.tables import RecordRow
from backbone.vault import Seal
from services.ledger import tree
from services.ledger.checkpoint import Signer
from services.ledger.leaves import record_leaf

SIGNER = Signer(os.urandom(32))
MODEL, DIGEST = "depth-eeg@0.1.0", "ab" * 32
# A recent whole minute, so that cases are neither in the future nor beyond the back-fill.
T0 = int((datetime.now(UTC) - timedelta(hours=1)).replace(second=0, microsecond=0).timestamp())


@dataclass(frozen=True)
class TestCase:
    """A case that records are written for."""

    __test__ = False

    case_id: UUID
    mrn: str


def open_case(engine: Engine, seal: Seal, *, mrn: str | None = None, birth_date: str | None = "1961-03-04") -> TestCase:
    """Insert the identity of a new case."""
    case = TestCase(uuid4(), mrn or uuid4().hex[:10])
    clear = {"identifier": case.mrn, "authority": "HOSP", "family": "Testpatient", "given": "Anna", "birth_date": birth_date, "sex": "F"}
    row = {
        "case_id": case.case_id,
        "pseudonym": uuid4().hex[:24],
        "site": "demo",
        "bed": "OR 1",
        "sealed_identity": seal.close(json.dumps(clear).encode(), "identity"),
        "started_at": datetime.fromtimestamp(T0 - 600, UTC),
        "simulated": True,
    }
    with engine.begin() as connection:
        connection.execute(insert(IdentityRow).values(**row))
    return case


def end_case(engine: Engine, case: TestCase, second: int) -> None:
    """Say when the patient left."""
    with engine.begin() as connection:
        ended = update(IdentityRow).where(IdentityRow.case_id == case.case_id).values(ended_at=datetime.fromtimestamp(second, UTC))
        connection.execute(ended)


def _row(case: TestCase, second: int) -> dict:
    shared = {"case_id": case.case_id, "second": second, "site": "demo", "bed": "OR 1", "simulated": True}
    nothing = {"tier": None, "value": None, "low": None, "high": None, "reason": None, "model": None, "model_digest": None}
    return {**shared, **nothing, "outcome": "refusal", "caveats": [], "input_hash": second.to_bytes(32, "big"), "payload": b""}


def scored(case: TestCase, start: int, count: int, value: float = 47.0, caveats: tuple[str, ...] = ()) -> list[dict]:
    """Return rows of tier E: `value`, and every tenth second one point more."""
    rows = []
    for second in range(start, start + count):
        depth = value + (second % 10 == 0)
        numbers = {"value": depth, "low": depth - 6.5, "high": depth + 7.5, "tier": Tier.E}
        rows.append(
            {**_row(case, second), **numbers, "outcome": "prediction", "model": MODEL, "model_digest": DIGEST, "caveats": list(caveats)}
        )
    return rows


def device_index(case: TestCase, start: int, count: int, value: float = 45.0) -> list[dict]:
    """Return rows of tier D."""
    numbers = {"value": value, "low": value, "high": value, "tier": Tier.D, "outcome": "prediction"}
    return [{**_row(case, second), **numbers} for second in range(start, start + count)]


def refused(case: TestCase, start: int, count: int, reason: RefusalReason) -> list[dict]:
    """Return refusals."""
    return [{**_row(case, second), "reason": reason} for second in range(start, start + count)]


def record(engine: Engine, rows: list[dict], *, signed: bool = True) -> None:
    """Write the rows with their leaves, and a checkpoint, as the ledger does."""
    at = datetime.now(UTC)
    with engine.begin() as connection:
        head = tree.opened(connection)
        connection.execute(insert(RecordRow), rows)
        head = tree.append(connection, head, [record_leaf(row) for row in rows], at)
        if signed:
            tree.store(connection, head, SIGNER.sign(head.range.size, head.range.root()), at)
