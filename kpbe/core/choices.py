"""Words that a user chooses among."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from kpbe.errors import KPBEError

Word = TypeVar("Word", bound=str)


def chosen(word: str, choices: Sequence[Word], what: str) -> Word:
    """The choice that `word` is.

    Raises:
        KPBEError: it is none; the message says `what` is chosen, and what there is.
    """
    for choice in choices:
        if word == choice:
            return choice
    raise KPBEError(f"there is no {what} {word}: choose one of {', '.join(choices)}.")
