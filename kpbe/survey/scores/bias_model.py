"""Scores corrected for raters' biases: ITU-T P.913 (06/2021) clause 12.6, as in P.910 (11/2021) Annex E.

A rater i scores stimulus j as

    u_ij = psi_j + Delta_i + upsilon_i X,    X standard normal:

the stimulus's quality, the rater's bias, and noise with the rater's inconsistency. Maximum likelihood by
alternating projection: each unknown in turn is set to its best value given the others (Li, Bampis, Janowski,
Katsavounidis: A simple model for subject behavior in subjective experiments, HVEI 2020):

    upsilon_i^2 = mean_j (u_ij - psi_j - Delta_i)^2
    psi_j       = sum_i (u_ij - Delta_i) / upsilon_i^2  /  sum_i 1 / upsilon_i^2
    Delta_i     = mean_j (u_ij - psi_j)

The biases are then shifted to mean zero, psi with them. The standard error of psi_j is (sum_i 1 /
upsilon_i^2)^(-1/2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST_ITERATIONS = 1000
TOLERANCE = 1e-8
LEAST_INCONSISTENCY = 1 / np.sqrt(12)
"""Least inconsistency. The likelihood is unbounded if one rater counts as perfect and the qualities equal
that rater's scores. Scores are whole numbers, so nobody is more consistent than the standard deviation of
rounding, which this is.
"""


@dataclass(frozen=True)
class BiasModel:
    """The model fitted to one question.

    Attributes:
        quality: psi of each stimulus, NaN where nobody answered.
        quality_error: its standard error.
        bias: Delta of each rater in points, with mean zero; NaN for a rater without answers.
        inconsistency: upsilon of each rater in points.
        iterations: number of iterations until the qualities converged.
    """

    quality: np.ndarray
    quality_error: np.ndarray
    bias: np.ndarray
    inconsistency: np.ndarray
    iterations: int


def fit_bias_model(scores: np.ndarray) -> BiasModel:
    """Fit the model.

    Args:
        scores: raters x stimuli, NaN where there is no answer.

    Raises:
        ValueError: there is no answer.
    """
    known: np.ndarray = ~np.isnan(scores)
    if not known.any():
        raise ValueError("the bias model needs answers.")
    rated, answered = np.asarray(known.any(1)), np.asarray(known.any(0))
    table, known = scores[rated][:, answered], known[rated][:, answered]
    filled = np.where(known, table, 0.0)
    per_rater, per_stimulus = known.sum(1), known.sum(0)

    quality = filled.sum(0) / per_stimulus
    bias = (filled - quality * known).sum(1) / per_rater
    inconsistency, weights = np.empty(0), np.empty(0)
    iterations = 0
    while iterations < MOST_ITERATIONS:
        iterations += 1
        residual = (filled - quality - bias[:, None]) * known
        residual_mean = residual.sum(1) / per_rater
        squares = ((residual - residual_mean[:, None]) ** 2 * known).sum(1) / per_rater
        inconsistency = np.maximum(np.sqrt(squares), LEAST_INCONSISTENCY)
        weights = known / inconsistency[:, None] ** 2
        before = quality
        quality = (weights * (filled - bias[:, None])).sum(0) / weights.sum(0)
        bias = (filled - quality * known).sum(1) / per_rater
        if np.linalg.norm(quality - before) < TOLERANCE:
            break
    shift = bias.mean()
    return BiasModel(
        _spread(quality + shift, answered),
        _spread(1 / np.sqrt(weights.sum(0)), answered),
        _spread(bias - shift, rated),
        _spread(inconsistency, rated),
        iterations,
    )


def _spread(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """An array with the values where the mask `places` is true, NaN elsewhere."""
    result = np.full(len(places), np.nan)
    result[places] = values
    return result
