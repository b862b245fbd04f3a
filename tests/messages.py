"""HL7 messages as devices would send them, for tests of the listener."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 21, 3, 45, tzinfo=UTC)
BPM = "264864^MDC_DIM_BEAT_PER_MIN^MDC"
PERCENT = "262688^MDC_DIM_PERCENT^MDC"
MICROVOLT = "266419^MDC_DIM_MICRO_VOLT^MDC"
HEART_RATE = "147842^MDC_ECG_HEART_RATE^MDC"
SPO2 = "150456^MDC_PULS_OXIM_SAT_O2^MDC"
EEG = "153900^MDC_EEG_ELEC_POTL_CRTX^MDC"
SAMP_RATE = "0^MDC_ATTR_SAMP_RATE^MDC"
RESOLUTION = "2327^MDC_ATTR_NU_MSMT_RES^MDC"


def stamp(at: datetime) -> str:
    """Return an HL7 timestamp with milliseconds and zone."""
    return f"{at:%Y%m%d%H%M%S}.{at.microsecond // 1000:03d}{at:%z}"


def message(*segments: str) -> bytes:
    return ("\r".join(segments) + "\r").encode()


def msh(kind: str, control_id: str, at: datetime = START, *, application: str = "SIM_MINDRAY", accept: str = "NE|AL") -> str:
    return f"MSH|^~\\&|{application}|HOSP|SOPOR|HOSP|{stamp(at)}||{kind}|{control_id}|T|2.6|||{accept}||UNICODE UTF-8"


def nm(code: str, value: object, unit: str = BPM, *, channel: str = "1.1.1.1", flags: str = "", result: str = "R", at: str = "") -> str:
    return f"OBX|1|NM|{code}|{channel}|{value}|{unit}||{flags}|||{result}|||{at}"


def eeg(samples: Iterable[int], *, channel: int = 1, rate: float = 128, resolution: float = 0.1) -> list[str]:
    place = f"1.3.{channel}.153900"
    return [
        f"OBX|1|NA|{EEG}|{place}|{'^'.join(str(s) for s in samples)}|{MICROVOLT}|||||R",
        f"OBX|2|NM|{SAMP_RATE}|{place}.1|{rate}|264640^MDC_DIM_HZ^MDC|||||R",
        f"OBX|3|NM|{RESOLUTION}|{place}.2|{resolution}|{MICROVOLT}|||||R",
    ]


def oru(
    rows: Iterable[str],
    *,
    control_id: str = "M1",
    at: datetime = START,
    span_s: float = 1.0,
    bed: str = "OR^^1",
    application: str = "SIM_MINDRAY",
    person: str = "",
) -> bytes:
    start = at - timedelta(seconds=span_s)
    return message(
        msh("ORU^R01^ORU_R01", control_id, at, application=application),
        f"PID|||{person}",
        f"PV1||I|{bed}",
        f"OBR|1|||182777000^monitoring of patient^SCT|||{stamp(start)}|{stamp(at)}",
        *rows,
    )


def adt(
    trigger: str,
    *,
    control_id: str = "A1",
    at: datetime = START,
    told: datetime | None = None,
    bed: str = "OR^^1",
    prior: str = "",
    person: str = "ZZCANARYID",
    born: str = "19700615",
    rows: Iterable[str] = (),
) -> bytes:
    return message(
        msh(f"ADT^{trigger}^ADT_{trigger}", control_id, told or at, application="SIM_ADT", accept="|"),
        f"EVN|{trigger}|{stamp(at)}",
        f"PID|1||{person}^^^SIMHOSP^MR||ZZCANARYFAMILY^ZZCANARYGIVEN||{born}|F",
        f"PV1|1|I|{bed}|||{prior}",
        *rows,
    )
