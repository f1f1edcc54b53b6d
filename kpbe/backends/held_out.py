"""Choice of the training clips that a backend's training is validated on."""

from __future__ import annotations

from collections.abc import Sequence

from kpbe.data.clips import Clip
from kpbe.training.batches import hold_out_validation

PEOPLE_PER_PAIR = 6
"""Least number of people per validation clip; with fewer, holding out whole people would cost too much."""


def hold_out_people(clips: Sequence[Clip], pairs: int) -> tuple[list[Clip], list[Clip]]:
    """Split training clips into (training, validation), by people where there are enough of them.

    Validation takes one clip each of `pairs` people, evenly spread over the sorted names; no clip of these
    people is trained on. With fewer than six people for each, `hold_out_validation` takes other clips of
    people that are trained on.
    """
    people = sorted({clip.identity for clip in clips})
    if len(people) < PEOPLE_PER_PAIR * pairs:
        return hold_out_validation(clips, pairs)
    held_out = {people[(2 * i + 1) * len(people) // (2 * pairs)] for i in range(pairs)}
    first = {clip.identity: clip for clip in reversed(clips) if clip.identity in held_out}
    return [clip for clip in clips if clip.identity not in held_out], [first[who] for who in sorted(first)]
