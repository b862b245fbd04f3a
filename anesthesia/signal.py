"""What a device can tell: every Signal, with its unit, codes, believable range and usual interval.

The codes are those of `IEEE 11073-10101` (MDC) and LOINC as read in public sources; where none was found the field is None and
`code_status` says so. A number is never invented: depth indices of the vendors have no common MDC number at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Kind(StrEnum):
    """How a Signal arrives: one value at an instant, or an array at a rate."""

    NUMERIC = "numeric"
    WAVEFORM = "waveform"


class CodeStatus(StrEnum):
    """Where the codes of a Signal come from."""

    STANDARD = "standard"  # an MDC number of IEEE 11073-10101 was read in a public source
    VENDOR = "vendor"  # only vendors' private numbers exist; they live in the mapping of each device
    LOCAL = "local"  # no code found in any source read


class Group(StrEnum):
    """The input group a Signal belongs to: what a predictor masks together."""

    EEG = "eeg"
    DEVICE_INDEX = "device_index"
    HEMODYNAMICS = "hemodynamics"
    RESPIRATION = "respiration"
    AGENT = "agent"
    DRUG = "drug"
    CONTEXT = "context"


@dataclass(frozen=True, slots=True)
class Signal:
    """One kind of reading. `believable` is inclusive, in `unit`; outside it a value is kept as invalid, never used."""

    name: str
    unit: str  # UCUM
    believable: tuple[float, float]
    group: Group
    usual_interval_s: float = 1.0
    mdc: int | None = None
    loinc: str | None = None
    code_status: CodeStatus = CodeStatus.STANDARD
    kind: Kind = Kind.NUMERIC

    def believes(self, value: float) -> bool:
        """Tell whether a finite value lies in the believable range."""
        low, high = self.believable
        return low <= value <= high


def _eeg() -> list[Signal]:
    # 153900 MDC_EEG_ELEC_POTL_CRTX is one number for every channel: the channel comes from OBX-4 or OBX-20 (hl7 mapping).
    return [
        Signal(
            f"eeg_{channel}",
            "uV",
            (-3000.0, 3000.0),
            Group.EEG,
            mdc=153900,
            loinc="75921-7",
            kind=Kind.WAVEFORM,
        )
        for channel in (1, 2)
    ]


def _device_index() -> list[Signal]:
    vendor, local, index = CodeStatus.VENDOR, CodeStatus.LOCAL, Group.DEVICE_INDEX
    return [
        Signal("bis", "{score}", (0, 100), index, code_status=vendor),
        Signal("entropy_state", "{score}", (0, 91), index, code_status=vendor),
        Signal("entropy_response", "{score}", (0, 100), index, code_status=vendor),
        Signal("psi", "{score}", (0, 100), index, loinc="103812-4", code_status=vendor),
        Signal("sqi", "%", (0, 100), index, code_status=vendor),
        Signal("emg", "dB", (0, 120), index, mdc=153916),
        Signal("suppression_ratio", "%", (0, 100), index, mdc=155024),
        Signal("sef", "Hz", (0, 64), index, mdc=153992),
        Signal("eeg_impedance", "kOhm", (0, 200), index, usual_interval_s=60, code_status=local),
        Signal("eeg_lead_off", "1", (0, 1), index, code_status=local),
    ]


def _hemodynamics() -> list[Signal]:
    group = Group.HEMODYNAMICS
    nibp = [
        Signal("nibp_systolic", "mm[Hg]", (20, 300), group, 180, 150021, "8480-6"),
        Signal("nibp_diastolic", "mm[Hg]", (10, 250), group, 180, 150022, "8462-4"),
        Signal("nibp_mean", "mm[Hg]", (10, 270), group, 180, 150023, "8478-0"),
    ]
    arterial = [
        Signal("art_systolic", "mm[Hg]", (-40, 350), group, 1, 150037),
        Signal("art_diastolic", "mm[Hg]", (-40, 300), group, 1, 150038),
        Signal("art_mean", "mm[Hg]", (-40, 320), group, 1, 150039),
    ]
    return [
        Signal("heart_rate", "/min", (10, 300), group, 1, 147842, "8867-4"),
        Signal("pulse_rate", "/min", (10, 300), group, 1, 149530),
        Signal("spo2", "%", (0, 100), group, 1, 150456, "59408-5"),
        *nibp,
        *arterial,
        Signal("temperature", "Cel", (20, 45), group, 1, 150344, "8310-5"),
    ]


def _respiration() -> list[Signal]:
    group = Group.RESPIRATION
    return [
        Signal("respiratory_rate", "/min", (0, 120), group, 1, 151562, "9279-1"),
        Signal("etco2", "mm[Hg]", (0, 150), group, 1, 151708, "19889-5"),
        Signal("fio2", "%", (15, 100), group, 1, 152196),
    ]


def _agents() -> list[Signal]:
    group = Group.AGENT
    return [
        Signal("n2o_end_tidal", "%", (0, 100), group, 1, 152108),
        Signal("n2o_inspired", "%", (0, 100), group, 1, 152192),
        Signal("sevoflurane_end_tidal", "%", (0, 12), group, 1, 152096),
        Signal("sevoflurane_inspired", "%", (0, 12), group, 1, 152180),
        Signal("desflurane_end_tidal", "%", (0, 25), group, 1, 152084),
        Signal("desflurane_inspired", "%", (0, 25), group, 1, 152168),
        Signal("isoflurane_end_tidal", "%", (0, 10), group, 1, 152100),
        Signal("isoflurane_inspired", "%", (0, 10), group, 1, loinc="60859-6", code_status=CodeStatus.LOCAL),
        Signal("mac", "1", (0, 10), group, 1, code_status=CodeStatus.VENDOR),
    ]


DRUGS = ("propofol", "remifentanil", "ketamine", "dexmedetomidine", "midazolam", "neuromuscular_blocker")
# Concentration of the drug in the syringe and in the effect site, per drug, as its users write them.
_SYRINGE_UNIT = {"remifentanil": "ug/mL", "dexmedetomidine": "ug/mL"}
_EFFECT_SITE_UNIT = {"propofol": "ug/mL", "ketamine": "ug/mL"}


def _drugs() -> list[Signal]:
    signals = []
    for drug in DRUGS:
        syringe = _SYRINGE_UNIT.get(drug, "mg/mL")
        signals += [
            Signal(f"{drug}_rate", "mL/h", (0, 2000), Group.DRUG, 1, 158014),  # MDC_FLOW_FLUID_PUMP_CURRENT
            Signal(f"{drug}_volume", "mL", (0, 5000), Group.DRUG, 1, 157993),  # volume delivered
            Signal(f"{drug}_bolus", "mL", (0, 200), Group.DRUG, 0, code_status=CodeStatus.LOCAL),
            Signal(f"{drug}_concentration", syringe, (0, 1000), Group.DRUG, 60, 157760),
            Signal(
                f"{drug}_pump_ce",
                _EFFECT_SITE_UNIT.get(drug, "ng/mL"),
                (0, 500),
                Group.DRUG,
                1,
                code_status=CodeStatus.LOCAL,  # no MDC code for a pump's effect-site concentration was found
            ),
        ]
    return signals


def _context() -> list[Signal]:
    return [Signal("tof_count", "1", (0, 4), Group.CONTEXT, 15, code_status=CodeStatus.LOCAL)]


SIGNALS: Mapping[str, Signal] = MappingProxyType(
    {
        signal.name: signal
        for rows in (
            _eeg(),
            _device_index(),
            _hemodynamics(),
            _respiration(),
            _agents(),
            _drugs(),
            _context(),
        )
        for signal in rows
    }
)

EEG_CHANNELS = ("eeg_1", "eeg_2")
# In order of trust when a bed has several.
DEVICE_INDICES = ("bis", "entropy_state", "psi")
