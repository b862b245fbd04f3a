"""What Sopor says of one expected second: a Prediction or a Refusal, never silence.

The lists here are closed: tiers, reasons, caveats and state words are those of the clinical rules, and nothing else may be shown.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import isfinite
from uuid import UUID

from anesthesia.case import Phase
from anesthesia.errors import BadValue
from anesthesia.reading import Bed

FIXED_TEXT = "Investigational software, not cleared or approved as a medical device. Do not base treatment on it."

AWAKE_FROM = 80.0
LIGHT_FROM = 60.0
DEEP_BELOW = 40.0


class Tier(StrEnum):
    """What a Prediction rests on."""

    E = "E"  # adequate EEG: the predicted depth index
    D = "D"  # no usable EEG: the device's own index, labelled as the device's
    P = "P"  # complete drug history only: expected drug effect, never called depth


class RefusalReason(StrEnum):
    """Why there is no number. Closed list."""

    NO_EEG = "no_eeg"
    LEAD_OFF = "lead_off"
    FLAT_UNVERIFIED = "flat_unverified"
    SQI_LOW = "sqi_low"
    EMG_HIGH = "emg_high"
    CAUTERY = "cautery"
    CLIPPED = "clipped"
    OUT_OF_DISTRIBUTION = "out_of_distribution"
    AGE_OUT_OF_SCOPE = "age_out_of_scope"
    AGE_UNKNOWN = "age_unknown"
    HYPOTHERMIA = "hypothermia"
    BYPASS = "bypass"
    STALE = "stale"
    CLOCK = "clock"
    ASSOCIATION_DOUBT = "association_doubt"
    CONFLICT_WITH_DEVICE = "conflict_with_device"
    DRUG_HISTORY_INCOMPLETE = "drug_history_incomplete"
    MODEL_UNAVAILABLE = "model_unavailable"
    MODEL_LATE = "model_late"
    DEVICE_DEMO = "device_demo"


# After these the device's own index may still be shown (tier D) if it is itself valid.
LEAVES_TIER_D_OPEN = frozenset(
    {
        RefusalReason.NO_EEG,
        RefusalReason.LEAD_OFF,
        RefusalReason.FLAT_UNVERIFIED,
        RefusalReason.EMG_HIGH,
        RefusalReason.CAUTERY,
        RefusalReason.CLIPPED,
        RefusalReason.OUT_OF_DISTRIBUTION,
    }
)

IN_WORDS = {
    RefusalReason.NO_EEG: "no usable EEG",
    RefusalReason.LEAD_OFF: "EEG lead off",
    RefusalReason.FLAT_UNVERIFIED: "flat signal, electrode contact not proven",
    RefusalReason.SQI_LOW: "signal quality below 15 %",
    RefusalReason.EMG_HIGH: "muscle activity above 55 dB",
    RefusalReason.CAUTERY: "electrocautery",
    RefusalReason.CLIPPED: "EEG clipped",
    RefusalReason.OUT_OF_DISTRIBUTION: "EEG unlike anything the model was trained on",
    RefusalReason.AGE_OUT_OF_SCOPE: "patient under 18",
    RefusalReason.AGE_UNKNOWN: "age not known",
    RefusalReason.HYPOTHERMIA: "temperature below 34 °C",
    RefusalReason.BYPASS: "cardiopulmonary bypass",
    RefusalReason.STALE: "data too old",
    RefusalReason.CLOCK: "device clock not trustworthy",
    RefusalReason.ASSOCIATION_DOUBT: "not certain whose data this is",
    RefusalReason.CONFLICT_WITH_DEVICE: "disagrees with the device's index",
    RefusalReason.DRUG_HISTORY_INCOMPLETE: "drug history incomplete",
    RefusalReason.MODEL_UNAVAILABLE: "model not available",
    RefusalReason.MODEL_LATE: "model answered too late",
    RefusalReason.DEVICE_DEMO: "device sends demonstration data",
}


class Caveat(StrEnum):
    """Words beside a number that is shown all the same. Closed list."""

    SQI_FAIR = "sqi_fair"
    EMG_FAIR = "emg_fair"
    NMB_OR_UNKNOWN = "nmb_or_unknown"
    KETAMINE = "ketamine"
    N2O = "n2o"
    DEXMEDETOMIDINE = "dexmedetomidine"
    VOLATILE_NOT_VALIDATED = "volatile_not_validated"
    ELDERLY = "elderly"
    LATE_FEED = "late_feed"


CAVEAT_IN_WORDS = {
    Caveat.SQI_FAIR: "signal quality 15-49 %",
    Caveat.EMG_FAIR: "muscle activity 30-55 dB",
    Caveat.NMB_OR_UNKNOWN: "muscle relaxant given or not known: can read low in an awake paralysed patient",
    Caveat.KETAMINE: "ketamine: may read high; do not deepen on it",
    Caveat.N2O: "nitrous oxide",
    Caveat.DEXMEDETOMIDINE: "dexmedetomidine",
    Caveat.VOLATILE_NOT_VALIDATED: "not validated with volatile agents",
    Caveat.ELDERLY: "elderly patient",
    Caveat.LATE_FEED: "data arrives late",
}


class StateWord(StrEnum):
    """State by value. Never 'adequate': that is a clinical judgement."""

    AWAKE = "awake"
    LIGHT = "light"
    GENERAL_RANGE = "general-range (40-60)"
    DEEP = "deep"


def state_of(value: float) -> StateWord:
    """Return the state word of a depth index (0 isoelectric to 100 awake)."""
    if value >= AWAKE_FROM:
        return StateWord.AWAKE
    if value >= LIGHT_FROM:
        return StateWord.LIGHT
    if value >= DEEP_BELOW:
        return StateWord.GENERAL_RANGE
    return StateWord.DEEP


@dataclass(frozen=True, slots=True)
class DeviceIndex:
    """The depth index that a device itself computed: always shown with its name and age, never as ours."""

    signal: str
    value: float
    observed_at: datetime


@dataclass(frozen=True, slots=True)
class ExpectedSecond:
    """The whole UTC second `[second, second + 1)` of one case that a record answers for."""

    case_id: UUID
    bed: Bed
    second: int
    simulated: bool = False
    phase: Phase = Phase.UNKNOWN


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a record rests on: enough to recompute it and to say how old it is.

    `observed_until` is the corrected instant of the newest reading the record used (None: nothing at all); `complete_at` the journal
    receipt of the last message it needed; `input_hash` the SHA-256 of the Window; `interval_s` the feed's declared interval, and
    `bound_s` the age after which the record may not be shown as current. `frames_until` is the id of the newest entry of the bed's
    partition that the scorer had taken: the same entries, in the same order, give the same Window again.
    """

    observed_until: datetime | None
    complete_at: datetime | None
    input_hash: bytes
    interval_s: float
    bound_s: float
    frames_until: str = ""


@dataclass(frozen=True, slots=True)
class ModelUsed:
    """Which bundle gave the number: `name@version` and the SHA-256 over its file digests."""

    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """A number with its interval (both 0 to 100), tier and caveats; `low <= value <= high`.

    Tier D repeats the device's own value, has no interval (low = high = value) and says in `instead_of_e` why EEG gave none.
    """

    of: ExpectedSecond
    tier: Tier
    value: float
    low: float
    high: float
    evidence: Evidence
    state: StateWord
    caveats: tuple[Caveat, ...] = ()
    model: ModelUsed | None = None
    instead_of_e: RefusalReason | None = None
    device_index: DeviceIndex | None = None
    suppression_ratio: float | None = None
    out_of_distribution: float | None = None

    def __post_init__(self) -> None:
        """Refuse a number that is no number, lies outside its interval, or comes from nowhere."""
        if not all(isfinite(x) for x in (self.value, self.low, self.high)):
            raise BadValue("prediction: value and interval must be finite")
        if not 0 <= self.low <= self.value <= self.high <= 100:  # noqa: PLR2004  the scale itself
            raise BadValue("prediction: needs 0 <= low <= value <= high <= 100")
        if self.tier is Tier.E and self.model is None:
            raise BadValue("prediction: tier E names its model")
        if self.tier is Tier.D and self.device_index is None:
            raise BadValue("prediction: tier D names its device index")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why no depth was given; recorded and shown like a prediction.

    For `conflict_with_device` both values are kept, labelled, never averaged: `withheld_value` is the model's. `suppression_ratio`
    is set when contact is proven and it is at least 10 % over 63 s: a refusal never hides suppression.
    """

    of: ExpectedSecond
    reason: RefusalReason
    evidence: Evidence
    model: ModelUsed | None = None
    device_index: DeviceIndex | None = None
    withheld_value: float | None = None
    suppression_ratio: float | None = None


Record = Prediction | Refusal
