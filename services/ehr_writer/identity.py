"""Who a case is about, opened from the seal for as long as one try takes."""

import json
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, select

from backbone.ehr_tables import IdentityRow
from backbone.vault import BadKey, Seal
from services.ehr_writer.codes import Json
from services.ehr_writer.errors import NeedsPeople
from services.ehr_writer.targets import Target

PURPOSE: Final = "identity"


@dataclass(frozen=True, slots=True)
class Person:
    """What identifies a patient at an EHR. Its text form shows nothing of it."""

    identifier: str = field(repr=False)
    authority: str = field(repr=False)
    birth_date: str | None = field(repr=False)


def person_of(connection: Connection, case_id: UUID, seal: Seal) -> Person:
    """Return the person of a case; NeedsPeople when nobody said who it is, or the seal does not open."""
    sealed = connection.scalar(select(IdentityRow.sealed_identity).where(IdentityRow.case_id == case_id))
    if not sealed:
        raise NeedsPeople("patient_unknown")
    try:
        fields = json.loads(seal.open(sealed, PURPOSE))
        person = Person(fields["identifier"], fields.get("authority") or "", fields.get("birth_date"))
    except (BadKey, ValueError, KeyError, TypeError) as fault:
        raise NeedsPeople("identity_unreadable") from fault
    if not person.identifier:
        raise NeedsPeople("patient_unknown")
    return person


def agree(person: Person, patient: Json, target: Target) -> str:
    """Return the id of the EHR's Patient; NeedsPeople when it may be somebody else: another authority or date of birth."""
    if target.authority is not None and person.authority != target.authority:
        raise NeedsPeople("authority_differs")
    birth_date = patient.get("birthDate")
    if birth_date and person.birth_date and birth_date != person.birth_date:
        raise NeedsPeople("birth_date_differs")
    return str(patient["id"])
