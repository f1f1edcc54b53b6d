"""Validation clips of backends' trainings: whole identities where there are enough."""

from __future__ import annotations

from kpbe.backends.held_out import hold_out_people
from kpbe.data.clips import Clip


def clips(people: int, each: int = 2) -> list[Clip]:
    return [
        Clip(f"p{i:02}#{k}", "train", f"p{i:02}", "", 30, 25.0, 8, 8, 1.2, True, "", 0, 30, "", "")
        for i in range(people)
        for k in range(each)
    ]


def test_nothing_of_a_validation_person_is_trained_on():
    training, validation = hold_out_people(clips(48), 8)
    people = [clip.identity for clip in validation]
    assert len(set(people)) == 8 and len(training) == 2 * 40
    assert set(people).isdisjoint(clip.identity for clip in training)
    assert people[0] < "p06" and people[-1] > "p41", "they are spread over all people"
    assert hold_out_people(clips(48), 8) == (training, validation)


def test_with_few_people_other_clips_of_them_are_held_out():
    training, validation = hold_out_people(clips(12), 8)
    assert {clip.identity for clip in validation} <= {clip.identity for clip in training}
    assert not set(validation) & set(training) and len(validation) == 8
