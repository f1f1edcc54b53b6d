"""What raters say of themselves: age band, eyesight, colour vision, equipment; all of it optional.

Reports on ITU-T P.910 or P.913 tests give it. Nobody measures the raters' eyes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from kpbe.errors import SurveyError

NOT_SAID = "not_said"
"""The answer "prefer not to say"; also used where a rater skipped the question."""

DEMOGRAPHICS: Mapping[str, tuple[str, ...]] = {
    "age": ("under_18", "18-29", "30-39", "40-49", "50-59", "60_up", NOT_SAID),
    "vision": ("normal", "corrected", "impaired", NOT_SAID),
    "colour_vision": ("normal", "deficient", NOT_SAID),
    "device": ("computer", "tablet", "phone", NOT_SAID),
    "sound": ("headphones", "earphones", "loudspeakers", NOT_SAID),
}
"""Possible answers of each question, in the order of the page and of the tables. Questions are columns of
ratings.csv.
"""

_QUESTION_WORDS = {"age": "age", "vision": "eyesight", "colour_vision": "colour vision"}
_ANSWER_WORDS = {
    "under_18": "under 18",
    "60_up": "60 or over",
    "corrected": "corrected to normal",
    "impaired": "not fully corrected",
    NOT_SAID: "not said",
}
NEVER_ASKED = "not asked"


def checked(answers: Mapping[str, str]) -> dict[str, str]:
    """Complete answers with `NOT_SAID` for missing ones.

    Raises:
        SurveyError: an unknown question or answer.
    """
    for question, answer in answers.items():
        if answer not in DEMOGRAPHICS.get(question, ()):
            raise SurveyError(f"{question} = {answer!r} is no answer to a question of this survey.")
    return {question: answers.get(question, NOT_SAID) for question in DEMOGRAPHICS}


def in_words(raters: Sequence[Mapping[str, str]]) -> str:
    """The numbers of raters with each answer, as one sentence.

    Args:
        raters: each rater's answers by question; "" or no key where a rater was not asked.
    """
    if not any(rater.get(question) for rater in raters for question in DEMOGRAPHICS):
        return "The raters were not asked for their age, eyesight and equipment."
    parts = []
    for question, options in DEMOGRAPHICS.items():
        counts = Counter(rater.get(question) or NEVER_ASKED for rater in raters)
        counted = [
            f"{_ANSWER_WORDS.get(answer, answer)} {counts[answer]}"
            for answer in (*options, NEVER_ASKED)
            if counts[answer]
        ]
        parts.append(f"{_QUESTION_WORDS.get(question, question)}: {', '.join(counted)}")
    return f"What the raters say of themselves - {'; '.join(parts)}."
