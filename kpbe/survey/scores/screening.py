"""Screening: which raters count by the rules of `survey.screening`, and the reasons for those left out.

The rules are fixed before answers come in. A rater who breaks one of the first six rules did not take the
test properly (ITU-T P.913, and P.808's rules for crowds, which microsoft/P.910 applies to video). BT.500 and
correlation compare a rater's scores with the others' and are applied to the remaining raters.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kpbe.params import ScreeningParams
from kpbe.survey.scores.ratings import SCORED, Panel, Rating, panel_of
from kpbe.survey.study.design import Study

FEWEST_FOR_BT500 = 4
"""Least number of raters for BT.500; with fewer, a kurtosis means nothing."""


@dataclass(frozen=True)
class Exclusion:
    """Why a rater is left out: the rule's name and a sentence."""

    rater: str
    rule: str
    reason: str


@dataclass(frozen=True)
class Screening:
    """The result of screening.

    Attributes:
        raters: everybody who answered anything, sorted.
        kept: the raters who count, sorted.
        exclusions: at least one for each other rater.
    """

    raters: tuple[str, ...]
    kept: tuple[str, ...]
    exclusions: tuple[Exclusion, ...]


def screen(ratings: Sequence[Rating], study: Study, rules: ScreeningParams) -> Screening:
    """Apply the rules.

    Args:
        ratings: the answers to `study`.
        study: gives the expected answers of traps and gold items, the originals of repeats, and the number of
            items for each rater.
        rules: `survey.screening`.
    """
    by_rater: defaultdict[str, list[Rating]] = defaultdict(list)
    for rating in ratings:
        by_rater[rating.rater].append(rating)
    raters = tuple(sorted(by_rater))
    exclusions = [one for rater in raters for one in _sitting(rater, by_rater[rater], study, rules)]
    kept = _without(raters, exclusions)

    methods = tuple(dict.fromkeys(item.method for item in study.items if item.kind in SCORED))
    panel = panel_of(ratings, methods, study.questions)
    if rules.bt500:
        exclusions += _bt500(panel.of_raters(kept))
        kept = _without(raters, exclusions)
    if rules.min_correlation is not None:
        exclusions += _correlation(panel.of_raters(kept), rules.min_correlation)
        kept = _without(raters, exclusions)
    return Screening(raters, kept, tuple(sorted(exclusions, key=lambda exclusion: exclusion.rater)))


def rules_in_words(rules: ScreeningParams) -> str:
    """The rules in one sentence."""
    exceptions = f" (but for {rules.max_unwatched:.0%} of them)" if rules.max_unwatched else ""
    words = [
        f"scored at least {rules.min_completed:.0%} of the clips",
        f"played all of them at least {rules.min_watched:.0%} through{exceptions}",
        f"passed at least {rules.min_traps_passed:.0%} of the traps and {rules.min_gold_passed:.0%} of the "
        f"gold items",
        f"was on average at most {rules.max_repeat_difference:g} points off at repeats",
        f"has a variance of at least {rules.min_variance:g}",
    ]
    if rules.bt500:
        words.append("is not rejected by ITU-R BT.500-14 A1-2.3.1")
    if rules.min_correlation is not None:
        words.append(f"correlates with the mean of all by at least {rules.min_correlation:g}")
    return f"A rater counts who {', '.join(words[:-1])}, and {words[-1]}."


def _without(raters: Sequence[str], exclusions: Sequence[Exclusion]) -> tuple[str, ...]:
    out = {exclusion.rater for exclusion in exclusions}
    return tuple(rater for rater in raters if rater not in out)


# -- how the test was taken --------------------------------------------------------------------------------


def _sitting(rater: str, ratings: Sequence[Rating], study: Study, rules: ScreeningParams) -> list[Exclusion]:
    """Exclusions of one rater by their own answers."""
    answers: defaultdict[str, dict[str, int]] = defaultdict(dict)
    watched: dict[str, float] = {}
    for rating in ratings:
        answers[rating.item][rating.question] = rating.score
        watched[rating.item] = rating.watched
    exclusions: list[Exclusion] = []

    def leave_out(rule: str, reason: str) -> None:
        exclusions.append(Exclusion(rater, rule, reason))

    kinds = {item.item: item.kind for item in study.items}
    planned = [item for item in study.order_of(ratings[0].rater_number) if kinds[item] in SCORED]
    done = sum(len(answers[item]) == len(study.questions) for item in planned if item in answers)
    if done < rules.min_completed * len(planned):
        leave_out(
            "completeness",
            f"scored {done} of {len(planned)} clips; at least {rules.min_completed:.0%} are asked for",
        )
    unwatched = sum(share < rules.min_watched for share in watched.values())
    if unwatched > rules.max_unwatched * len(watched):
        leave_out(
            "playback",
            f"played {unwatched} of {len(watched)} clips less than {rules.min_watched:.0%} through",
        )
    for kind, least in (("trap", rules.min_traps_passed), ("gold", rules.min_gold_passed)):
        passed, seen = _passed(answers, study, kind)
        if seen and passed < least * seen:
            leave_out(
                "traps" if kind == "trap" else "gold",
                f"gave a possible answer to {passed} of {seen} {kind} items; at least {least:.0%} are asked "
                f"for",
            )
    off = _repeat_difference(answers, study)
    if off is not None and off > rules.max_repeat_difference:
        leave_out(
            "repeats",
            f"was {off:.2f} points off when clips came again; at most {rules.max_repeat_difference:g} are "
            f"allowed",
        )
    scores = [r.score for r in ratings if kinds[r.item] in SCORED]
    variance = float(np.var(scores, ddof=1)) if len(scores) > 1 else 0.0
    if variance < rules.min_variance:
        leave_out(
            "variance",
            f"scores vary by {variance:.2f} only (variance); at least {rules.min_variance:g} is asked for",
        )
    return exclusions


def _passed(answers: dict[str, dict[str, int]], study: Study, kind: str) -> tuple[int, int]:
    """Numbers of items of a kind that have an allowed answer, and that have any answer."""
    items = [item for item in study.items if item.kind == kind and item.expected and item.item in answers]
    passed = sum(
        all(
            low <= answers[item.item].get(question, low) <= high
            for question, (low, high) in item.expected.items()
        )
        for item in items
    )
    return passed, len(items)


def _repeat_difference(answers: dict[str, dict[str, int]], study: Study) -> float | None:
    """Mean absolute difference between the scores of repeats and originals; None without repeats."""
    differences = [
        abs(score - answers[item.repeats][question])
        for item in study.items
        if item.repeats and item.item in answers and item.repeats in answers
        for question, score in answers[item.item].items()
        if question in answers[item.repeats]
    ]
    return float(np.mean(differences)) if differences else None


# -- among the others --------------------------------------------------------------------------------------


def _bt500(panel: Panel) -> list[Exclusion]:
    if len(panel.raters) < FEWEST_FOR_BT500:
        return []
    scores = panel.answers()
    above, below = bt500_counts(scores)
    counted = np.count_nonzero(~np.isnan(scores), axis=1)
    return [
        Exclusion(
            rater,
            "BT.500",
            f"{above[i]} scores far above and {below[i]} far below those of the others, of {counted[i]} "
            "(more than 5 %, and on both sides)",
        )
        for i, rater in enumerate(panel.raters)
        if bt500_rejects(int(above[i]), int(below[i]), int(counted[i]))
    ]


def bt500_counts(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P and Q of ITU-R BT.500-14 A1-2.3.1: how often each rater is far above and far below the others.

    Far is 2 standard deviations of a presentation's scores where they look normal (kurtosis beta2 = m4 / m2^2
    from 2 to 4), else sqrt(20) of them. The three questions count as separate presentations.

    Args:
        scores: raters x presentations, NaN where there is no answer.
    """
    known = scores[:, (~np.isnan(scores)).sum(0) >= 2]
    mean, sd = np.nanmean(known, axis=0), np.nanstd(known, axis=0, ddof=1)
    second, fourth = (np.nanmean((known - mean) ** power, axis=0) for power in (2, 4))
    kurtosis = np.divide(fourth, second**2, out=np.zeros_like(fourth), where=second > 0)
    far = np.where((kurtosis >= 2) & (kurtosis <= 4), 2.0, np.sqrt(20)) * sd
    varies = second > 0
    return ((known >= mean + far) & varies).sum(1), ((known <= mean - far) & varies).sum(1)


def bt500_rejects(above: int, below: int, answers: int) -> bool:
    """Whether BT.500 rejects a rater: (P + Q) / answers > 0.05 and |P - Q| / (P + Q) < 0.3.

    Somebody who is always far above (or always far below) is biased, not erratic, and stays.
    """
    outlying = above + below
    return outlying > 0.05 * answers and abs(above - below) < 0.3 * outlying


def _correlation(panel: Panel, least: float) -> list[Exclusion]:
    """Exclusions by the correlation rule of ITU-T P.913 (after VQEG).

    It drops the rater who correlates worst with the mean, again and again, until all reach `least`.
    """
    exclusions: list[Exclusion] = []
    while len(panel.raters) > 2:
        correlations = correlations_with_mean(panel.answers())
        worst = int(np.argmin(correlations))
        if correlations[worst] >= least:
            break
        rater = panel.raters[worst]
        reason = (
            f"scores correlate with the mean of all by {correlations[worst]:.2f}; at least {least:g} is "
            "asked for"
        )
        exclusions.append(Exclusion(rater, "correlation", reason))
        panel = panel.of_raters([other for other in panel.raters if other != rater])
    return exclusions


def correlations_with_mean(scores: np.ndarray) -> np.ndarray:
    """Pearson correlation of each rater's scores with the mean over all raters; 0 for constant scores.

    Args:
        scores: raters x presentations, NaN where there is no answer.
    """
    answered = ~np.isnan(scores).all(0)
    scores = scores[:, answered]
    mean = np.nanmean(scores, axis=0)
    result = np.zeros(len(scores))
    for i, own in enumerate(scores):
        both = ~np.isnan(own)
        if both.sum() >= 2 and own[both].std() > 0 and mean[both].std() > 0:
            result[i] = np.corrcoef(own[both], mean[both])[0, 1]
    return result
