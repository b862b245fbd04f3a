"""A whole course of infusion rates at once: what compartments and effect sites hold after each interval. Pure.

The same recursion as `pharmacology.step_of`, run in the system's own modes. Masses as there: mg and mg/L, or ug and ug/L.
"""

from dataclasses import replace

import numpy as np
from scipy.signal import lfilter

from anesthesia.pharmacology import SECONDS_PER_MINUTE, Compartments, Floats, step_of


def amounts_of(model: Compartments, mass_per_min: Floats, interval_s: float) -> Floats:
    """Return [n + 1, 3]: the amounts at the start of each interval of a course of infusion rates, from an empty patient, and at its end.

    Scaled by the roots of the volumes the three compartments are a symmetric system: its modes are real and pass one by one.
    """
    scale = np.sqrt(np.array(model.volumes_l))
    rates, modes = np.linalg.eigh(model.rates_per_min[:3, :3] / scale[:, None] * scale)
    minutes = interval_s / SECONDS_PER_MINUTE
    keep, give = np.exp(rates * minutes), np.expm1(rates * minutes) / rates * modes[0] / scale[0]
    rows = [lfilter([0.0, of_input], [1.0, -kept], np.append(mass_per_min, 0.0)) for kept, of_input in zip(keep, give, strict=True)]
    return np.asarray(np.stack(rows, axis=1) @ modes.T * scale, np.float64)


def effect_sites_of(model: Compartments, mass_per_min: Floats, interval_s: float, ke0s_per_min: tuple[float, ...]) -> Floats:
    """Return [n, k]: what k effect sites with these rate constants hold at the end of each interval of a course, mass/L."""
    amounts, given = amounts_of(model, mass_per_min, interval_s)[:-1], np.asarray(mass_per_min, np.float64)
    sites = []
    for ke0 in ke0s_per_min:
        step = step_of(replace(model, ke0_per_min=ke0), interval_s)
        gained = amounts @ step.transition[3, :3] + step.gain[3] * given
        sites.append(lfilter([1.0], [1.0, -step.transition[3, 3]], gained))
    return np.asarray(np.stack(sites, axis=1), np.float64)


def effect_site_of(model: Compartments, mass_per_min: Floats, interval_s: float) -> Floats:
    """Return the effect-site concentration at the end of each interval of a course of infusion rates, from an empty patient."""
    return effect_sites_of(model, mass_per_min, interval_s, (model.ke0_per_min,))[:, 0]
