"""The thresholds of the clinical rules, each with its unit in its name."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds of the clinical rules; a site's clinical owner sets them in `[thresholds]` of the site file."""

    sqi_refused_below_percent: float = 15.0
    sqi_fair_below_percent: float = 50.0
    emg_refused_above_db: float = 55.0
    emg_fair_from_db: float = 30.0
    cautery_refused_above_share: float = 0.20  # of the window
    clipped_refused_above_share: float = 0.20  # of the newest 30 s at the rail
    hypothermia_below_cel: float = 34.0
    adult_from_years: int = 18
    elderly_from_years: int = 70
    conflict_points: float = 15.0
    conflict_s: int = 60
    suppression_shown_from_percent: float = 10.0
    intervals_until_stale: float = 3.0
    waveform_dead_after_s: float = 10.0
    model_late_after_s: float = 1.0
    grace_s: float = 1.5  # an expected second is recorded at second + source_latency + grace at the latest
