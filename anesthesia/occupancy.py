"""Who is in a bed, and since when: `[from, to)` in corrected observation time.

A window takes only readings inside one Occupancy; the order of the stream only tells when we learned it.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid5

from anesthesia.errors import BadValue
from anesthesia.reading import Bed, aware_utc

# The namespace of every case id; drawn once, never changed.
CASE_NAMESPACE = UUID("6a3f3c06-5a3c-4f0e-9a4b-0d9e5f0c7b11")
UNIDENTIFIED = "unidentified"


def case_id_of(bed: Bed, pseudonym: str, start: datetime) -> UUID:
    """Return the id of the case of one pseudonym in one bed from one instant; `UNIDENTIFIED` for a provisional case."""
    return uuid5(CASE_NAMESPACE, f"{bed.site}|{bed.name}|{pseudonym}|{aware_utc(start, 'from').isoformat()}")


@dataclass(frozen=True, slots=True)
class Covariates:
    """What is known of the person that a predictor may use. None: not known."""

    age_years: int | None = None
    sex: str | None = None  # HL7 table 0001: M, F, O, U
    height_cm: float | None = None
    weight_kg: float | None = None


@dataclass(frozen=True, slots=True)
class Occupancy:
    """One patient in one bed during `[start, end)`; `end` is None while it lasts.

    `case_id` stays the same for every revision of one Occupancy. `sealed_identity` can be opened with the vault's identity key only.
    """

    bed: Bed
    case_id: UUID
    pseudonym: str
    start: datetime
    end: datetime | None
    theatre: bool
    adult_only: bool = False
    covariates: Covariates = Covariates()
    sealed_identity: bytes = b""
    simulated: bool = False

    def __post_init__(self) -> None:
        """Refuse an interval that is naive or ends before it starts."""
        start = aware_utc(self.start, "occupancy start")
        if self.end is not None and aware_utc(self.end, "occupancy end") < start:
            raise BadValue("occupancy: the end lies before the start")

    @property
    def provisional(self) -> bool:
        """Tell whether nobody has said yet who lies here."""
        return self.pseudonym == UNIDENTIFIED

    def covers(self, instant: datetime) -> bool:
        """Tell whether the instant lies in `[start, end)`."""
        return self.start <= instant and (self.end is None or instant < self.end)
