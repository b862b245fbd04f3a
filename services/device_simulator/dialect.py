"""The code rows of each dialect: which OBX a signal becomes. Pure; the contract is docs/reference/dialects.md."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from services.device_simulator.hl7 import Row


class Dialect(StrEnum):
    """How a monitor speaks."""

    MINDRAY = "mindray"
    PHILIPS = "philips"

    @property
    def acks(self) -> tuple[str, str]:
        """MSH-15 and MSH-16: an application ack, or an accept ack."""
        return ("NE", "AL") if self is Dialect.MINDRAY else ("AL", "NE")


BEAT = "264864^MDC_DIM_BEAT_PER_MIN^MDC"
PERCENT = "262688^MDC_DIM_PERCENT^MDC"
MMHG = "266016^MDC_DIM_MMHG^MDC"
RESP = "264928^MDC_DIM_RESP_PER_MIN^MDC"
DEGC = "268192^MDC_DIM_DEGC^MDC"
DIMLESS = "262656^MDC_DIM_DIMLESS^MDC"
DECIBEL = "268000^MDC_DIM_DECIBEL^99SOPOR"
HZ = "264640^MDC_DIM_HZ^MDC"
MICROVOLT = "266419^MDC_DIM_MICRO_VOLT^MDC"
ML_PER_H = "265266^MDC_DIM_MILLI_L_PER_HR^MDC"
ML = "263762^MDC_DIM_MILLI_L^MDC"
EEG = "153900^MDC_EEG_ELEC_POTL_CRTX^MDC"

# signal: (Mindray-like, Philips-like or None for the same, unit, decimals)
_CODES: dict[str, tuple[str, str | None, str, int]] = {
    "heart_rate": ("147842^MDC_ECG_HEART_RATE^MDC", "147842^MDC_ECG_CARD_BEAT_RATE^MDC", BEAT, 0),
    "pulse_rate": ("149530^MDC_PULS_OXIM_PULS_RATE^MDC", None, BEAT, 0),
    "spo2": ("150456^MDC_PULS_OXIM_SAT_O2^MDC", None, PERCENT, 0),
    "nibp_systolic": ("150301^MDC_PRESS_CUFF_SYS^MDC", "150021^MDC_PRESS_BLD_NONINV_SYS^MDC", MMHG, 0),
    "nibp_diastolic": ("150302^MDC_PRESS_CUFF_DIA^MDC", "150022^MDC_PRESS_BLD_NONINV_DIA^MDC", MMHG, 0),
    "nibp_mean": ("150303^MDC_PRESS_CUFF_MEAN^MDC", "150023^MDC_PRESS_BLD_NONINV_MEAN^MDC", MMHG, 0),
    "art_systolic": ("150037^MDC_PRESS_BLD_ART_ABP_SYS^MDC", None, MMHG, 0),
    "art_diastolic": ("150038^MDC_PRESS_BLD_ART_ABP_DIA^MDC", None, MMHG, 0),
    "art_mean": ("150039^MDC_PRESS_BLD_ART_ABP_MEAN^MDC", None, MMHG, 0),
    "respiratory_rate": ("151594^MDC_CO2_RESP_RATE^MDC", "151562^MDC_RESP_RATE^MDC", RESP, 0),
    "etco2": ("151708^MDC_CONC_AWAY_CO2_ET^MDC", "151728^MDC_AWAY_CO2_ET^MDC", MMHG, 0),
    "fio2": ("152196^MDC_CONC_AWAY_O2_INSP^MDC", None, PERCENT, 0),
    "temperature": ("150344^MDC_TEMP^MDC", None, DEGC, 1),
    "bis": ("120^MNDRY_EEG_BISPECTRAL_INDEX^99MNDRY", "192590^NOM_EEG_BISPECTRAL_INDEX^99PHILIPS", DIMLESS, 0),
    "sqi": ("122^MNDRY_EEG_BIS_SQI^99MNDRY", "192589^NOM_EEG_BIS_SIG_QUAL_INDEX^99PHILIPS", PERCENT, 0),
    "emg": ("153916^MDC_EMG_ELEC_POTL_MUSCL^MDC", None, DECIBEL, 0),
    "suppression_ratio": ("155024^MDC_EEG_PAROX_CRTX_BURST_SUPPRN^MDC", "192586^NOM_EEG_RATIO_SUPPRN^99PHILIPS", PERCENT, 0),
    "sef": ("153992^MDC_EEG_FREQ_PWR_SPEC_CRTX_SPECTRAL_EDGE^MDC", None, HZ, 1),
    "eeg_lead_off": ("1^SOPOR_EEG_LEAD_OFF^99SOPOR", None, DIMLESS, 0),
}
# Which module of the monitor a signal belongs to: the second number of OBX-4.
_MODULE = {"bis": 3, "sqi": 3, "emg": 3, "suppression_ratio": 3, "sef": 3, "eeg_lead_off": 3, "etco2": 2, "fio2": 2, "respiratory_rate": 2}


@dataclass(frozen=True, slots=True)
class Measured:
    """One value of one signal; None where the device has none; `at` when the value is older than its message (NIBP)."""

    signal: str
    value: float | None
    at: datetime | None = None


def numeric_rows(dialect: Dialect, values: Iterable[Measured]) -> list[Row]:
    """Return the numeric rows of a monitor."""
    rows = []
    for measured in values:
        mindray, philips, unit, decimals = _CODES[measured.signal]
        code = mindray if dialect is Dialect.MINDRAY or philips is None else philips
        channel = f"1.{_MODULE.get(measured.signal, 1)}.1.{code.partition('^')[0]}"
        shown = None if measured.value is None else f"{measured.value:.{decimals}f}"
        rows.append(Row("NM", code, channel, shown, unit, measured.at))
    return rows


def eeg_rows(counts: NDArray[np.int16], rate_hz: float, microvolt_per_count: float) -> list[Row]:
    """Return the three rows of each EEG channel: counts, rate, resolution. `counts` has shape (channels, samples)."""
    rows = []
    for number, channel in enumerate(counts, start=1):
        place = f"1.3.{number}.153900"
        rows += [
            Row("NA", EEG, place, "^".join(map(str, channel.tolist())), MICROVOLT),
            Row("NM", "0^MDC_ATTR_SAMP_RATE^MDC", f"{place}.1", f"{rate_hz:g}", HZ),
            Row("NM", "2327^MDC_ATTR_NU_MSMT_RES^MDC", f"{place}.2", f"{microvolt_per_count:.10g}", MICROVOLT),
        ]
    return rows


@dataclass(frozen=True, slots=True)
class PumpReport:
    """What one pump channel tells: the drug, its concentration (mg/mL, or ug/mL), mL/h, mL in all, and a bolus just given."""

    drug: str
    concentration: float
    micrograms: bool
    rate_ml_h: float
    volume_ml: float
    bolus: Measured | None = None


def pump_rows(reports: Iterable[PumpReport]) -> list[Row]:
    """Return the rows of a pump, one channel a drug."""
    rows = []
    for number, report in enumerate(reports, start=1):
        unit = "264307^MDC_DIM_MICRO_G_PER_ML^99SOPOR" if report.micrograms else "264306^MDC_DIM_MILLI_G_PER_ML^MDC"
        place = f"1.1.{number}"
        rows += [
            Row("ST", "184514^MDC_DRUG_NAME_LABEL^MDC", f"{place}.184514", report.drug.capitalize()),
            Row("NM", "157760^MDC_CONC_DRUG^MDC", f"{place}.157760", f"{report.concentration:g}", unit),
            Row("NM", "158014^MDC_FLOW_FLUID_PUMP_CURRENT^MDC", f"{place}.158014", f"{report.rate_ml_h:.1f}", ML_PER_H),
            Row("NM", "157993^MDC_VOL_FLUID_DELIV_TOTAL^MDC", f"{place}.157993", f"{report.volume_ml:.2f}", ML),
        ]
        if report.bolus is not None and report.bolus.value is not None:
            rows.append(Row("NM", "3^SOPOR_VOL_BOLUS^99SOPOR", f"{place}.3", f"{report.bolus.value:g}", ML, report.bolus.at))
    return rows
