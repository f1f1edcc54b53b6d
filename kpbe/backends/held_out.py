"""Which training clips a backend's training is judged by."""

from __future__ import annotations

from collections.abc import Sequence

from kpbe.data.clips import Clip
from kpbe.training.batches import hold_out_validation

PEOPLE_PER_PAIR = 6
"""With fewer people than this for each validation clip, whole people are too many to hold out."""


def hold_out_people(clips: Sequence[Clip], pairs: int) -> tuple[list[Clip], list[Clip]]:
    """Split training clips into (training, validation), by people where there are enough of them.

    One clip each of `pairs` people, evenly spread over the sorted names, is the validation, and nothing else
    of these people is trained on. With fewer than six people for each, it is `hold_out_validation`: other
    clips of people that are trained on.
    """
    people = sorted({clip.identity for clip in clips})
    if len(people) < PEOPLE_PER_PAIR * pairs:
        return hold_out_validation(clips, pairs)
    held_out = {people[(2 * i + 1) * len(people) // (2 * pairs)] for i in range(pairs)}
    first = {clip.identity: clip for clip in reversed(clips) if clip.identity in held_out}
    return [clip for clip in clips if clip.identity not in held_out], [first[who] for who in sorted(first)]
