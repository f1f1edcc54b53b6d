"""The design of a study: its clips and items, kept in study.json.

Absolute category rating with hidden reference (ITU-T P.910): every rater sees each chosen clip by every
method, with the unmarked ground truth among them. Items of other kinds check the rater: traps (sound and lips
out of step), gold (plainly good or bad), repeats. File names do not reveal an item's kind; study.json does,
so it stays with the researcher.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, TypeVar

from kpbe.core.files import write_json
from kpbe.errors import SurveyError
from kpbe.params import SurveyParams

QUESTIONS = ("lip_sync", "head_pose", "realness")
LEAST_RATERS = 15
"""Least number of raters by ITU-T P.910."""

WEB_RATERS = 35
"""Least number of raters by ITU-T P.913 outside a laboratory, as in a survey on the web."""

GROUND_TRUTH = "ground_truth"
SHORTEST_SECONDS = 5.0
"""Least length of stimuli: ITU-T P.913 asks for 5 to 20 s, P.910 advises 8 to 10 s."""

Kind = Literal["main", "reference", "trap", "gold", "repeat", "training"]

GOOD: Mapping[str, tuple[int, int]] = {"lip_sync": (4, 5), "realness": (4, 5)}
BAD: Mapping[str, tuple[int, int]] = {"realness": (1, 2)}
OUT_OF_STEP: Mapping[str, tuple[int, int]] = {"lip_sync": (1, 3)}

T = TypeVar("T")


@dataclass(frozen=True)
class Item:
    """One video that raters see.

    Attributes:
        item: 16 hex digits that reveal nothing; the file's stem.
        kind: `main` and `reference` (the ground truth) are scored; `trap`, `gold` and `repeat` check the
            rater; `training` items come first, with feedback.
        clip_id, identity: of the test clip.
        method: a backend, `enhanced_method` of it, or "ground_truth" (also that of traps, gold and training
            items, before they are changed).
        seconds: length of the video.
        sha256: of the file.
        expected: lowest and highest right answer by question, for traps, gold and training items.
        repeats: the item of which this is a second copy.
        shift_ms: delay of the sound.
        degraded: whether the picture is spoilt.
    """

    item: str
    kind: Kind
    clip_id: str
    identity: str
    method: str
    seconds: float = 0.0
    sha256: str = ""
    expected: Mapping[str, tuple[int, int]] = field(default_factory=dict, hash=False)
    repeats: str | None = None
    shift_ms: int = 0
    degraded: bool = False

    @property
    def file(self) -> str:
        """File name of its video."""
        return f"{self.item}.mp4"


@dataclass(frozen=True)
class Study:
    """Everything in a study that its answers depend on.

    Attributes:
        name: `survey.study`.
        seed: `survey.seed`.
        questions: asked for each item, answered from 1 (bad) to 5 (excellent).
        items: all items.
        orders: for each planned rater the items, without training, in the order in which they are shown.
        training: items that are shown first, in this order.
        break_after: number of items after which a break is offered.
        design_sha256: digest of everything above; another design is another study.
    """

    name: str
    seed: int
    questions: tuple[str, ...]
    items: tuple[Item, ...]
    orders: tuple[tuple[str, ...], ...]
    training: tuple[str, ...]
    break_after: int

    @cached_property
    def design_sha256(self) -> str:
        """Digest of the items, the bytes of their files, the orders and the questions."""
        return sha256(json.dumps(self._plain(), sort_keys=True).encode()).hexdigest()

    @property
    def too_short(self) -> str:
        """A sentence if scored videos are shorter than `SHORTEST_SECONDS`, else ""."""
        seconds = [item.seconds for item in self.items if item.kind in ("main", "reference")]
        if not seconds or min(seconds) >= SHORTEST_SECONDS:
            return ""
        short = sum(length < SHORTEST_SECONDS for length in seconds)
        return (
            f"{short} of {len(seconds)} scored videos last less than {SHORTEST_SECONDS:g} s (the shortest "
            f"{min(seconds):.1f} s): "
            "ITU-T P.913 asks for 5 to 20 s, so their scores are not comparable with other studies'."
        )

    @cached_property
    def by_id(self) -> dict[str, Item]:
        """Items by their names."""
        return {item.item: item for item in self.items}

    def order_of(self, rater_number: int) -> tuple[str, ...]:
        """The items that a rater, numbered from 1, sees after the training.

        If there are more raters than orders, the orders repeat.
        """
        return self.orders[(rater_number - 1) % len(self.orders)]

    def write(self, path: Path | str) -> None:
        """Write study.json, whole or not at all."""
        write_json(path, {**self._plain(), "design_sha256": self.design_sha256})

    def _plain(self) -> dict[str, Any]:
        return {**asdict(self), "items": [{**asdict(item), "file": item.file} for item in self.items]}


def read_study(path: Path | str) -> Study:
    """Read study.json.

    Raises:
        SurveyError: the file is missing, damaged, or was changed by hand.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        study = Study(
            name=values["name"],
            seed=values["seed"],
            questions=tuple(values["questions"]),
            items=tuple(_item(item) for item in values["items"]),
            orders=tuple(tuple(order) for order in values["orders"]),
            training=tuple(values["training"]),
            break_after=values["break_after"],
        )
        written = values["design_sha256"]
    except FileNotFoundError:
        raise SurveyError(
            f"{path} does not exist: run the stage mos_stimuli first (dvc repro mos_stimuli)."
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError, KeyError, TypeError) as error:
        raise SurveyError(
            f"{path} is damaged ({type(error).__name__}: {error}): run the stage mos_stimuli again."
        ) from None
    if written != study.design_sha256:
        raise SurveyError(
            f"{path} was changed after it was written (design_sha256 differs): run the stage mos_stimuli "
            f"again."
        )
    return study


def _item(values: dict[str, Any]) -> Item:
    expected = {question: (low, high) for question, (low, high) in values["expected"].items()}
    return Item(**{**{k: v for k, v in values.items() if k != "file"}, "expected": expected})


# -- choices -----------------------------------------------------------------------------------------------


def shuffled(values: Sequence[T], *key: Any) -> list[T]:
    """`values` in a random order that depends on `key` only, not on the machine or library versions."""

    def rank(place: int) -> bytes:
        return sha256(json.dumps([*key, place]).encode()).digest()

    return [values[place] for place in sorted(range(len(values)), key=rank)]


def stratified(clips: Sequence[tuple[str, str]], seed: int) -> list[tuple[str, str]]:
    """Order clips so that every prefix of the order has the identities as evenly as possible.

    Args:
        clips: (clip_id, identity) pairs.
        seed: decides the order of identities and of their clips.
    """
    of_identity: dict[str, list[tuple[str, str]]] = {}
    for clip_id, identity in sorted(clips):
        of_identity.setdefault(identity, []).append((clip_id, identity))
    columns = [shuffled(own_clips, seed, "clips", who) for who, own_clips in sorted(of_identity.items())]
    rounds = zip_longest(*shuffled(columns, seed, "identities"))
    return [clip for members in rounds for clip in members if clip is not None]


def clips_needed(survey: SurveyParams) -> int:
    """Number of clips that a study can use: scored ones, and one for each trap, gold and training item."""
    return survey.clips + survey.training + survey.traps + survey.gold


def design_items(
    ranked: Sequence[tuple[str, str]],
    methods: Sequence[str],
    survey: SurveyParams,
    content: Callable[[str, str], str],
) -> list[Item]:
    """The items of a study, before their videos are made (`seconds` and `sha256` are empty).

    The first `survey.clips` clips are scored. Training items, traps and gold take the clips after them, so
    that no rater sees the ground truth of a scored clip too often; if there are too few, they take scored
    ones. There is a repeat for each method (more if `survey.repeats` is larger), of different clips as far as
    possible; each rater sees `survey.repeats` of them.

    Args:
        ranked: (clip_id, identity) pairs from `stratified`.
        methods: without the ground truth.
        survey: the params.
        content: gives the digest of the inputs of a clip's video by a method; it makes names unguessable.
    """
    chosen = ranked[: survey.clips]
    extra = iter(_extra_clips(ranked, survey))
    counts: dict[str, int] = {}

    def make(kind: Kind, clip: tuple[str, str], method: str = GROUND_TRUTH, **what: Any) -> Item:
        counts[kind] = number = counts.get(kind, 0) + 1
        clip_id, identity = clip
        facts = [survey.study, kind, number, clip_id, method, what.get("shift_ms", 0), "degraded" in what]
        message = json.dumps([*facts, content(clip_id, method)])
        name = hmac.new(str(survey.seed).encode(), message.encode(), "sha256").hexdigest()[:16]
        return Item(name, kind, clip_id, identity, method, **what)

    items = [make("main", clip, method) for clip in chosen for method in methods]
    items += [make("reference", clip) for clip in chosen]
    good: dict[str, Any] = {"expected": dict(GOOD)}
    spoilt: dict[str, Any] = {"expected": dict(BAD), "degraded": True}
    late: dict[str, Any] = {"expected": dict(OUT_OF_STEP), "shift_ms": survey.trap_shift_ms}
    both: dict[str, Any] = {**spoilt, **late, "expected": {**BAD, **OUT_OF_STEP}}
    items += [make("training", next(extra), **(both if k % 2 else good)) for k in range(survey.training)]
    items += [make("trap", next(extra), **late) for _ in range(survey.traps)]
    items += [make("gold", next(extra), **(spoilt if k % 2 else good)) for k in range(survey.gold)]
    originals = {
        (item.clip_id, item.method): item.item for item in items if item.kind in ("main", "reference")
    }
    names = [*methods, GROUND_TRUTH]
    for number in range(max(survey.repeats, len(names)) if survey.repeats else 0):
        method, clip = (
            names[number % len(names)],
            chosen[(number + number // len(names)) % len(chosen)],
        )
        if (clip[0], method) in originals:
            items.append(make("repeat", clip, method, repeats=originals.pop((clip[0], method))))
    return items


def _extra_clips(ranked: Sequence[tuple[str, str]], survey: SurveyParams) -> list[tuple[str, str]]:
    """Clips for training items, traps and gold."""
    count = survey.training + survey.traps + survey.gold
    spare = list(ranked[survey.clips : survey.clips + count])
    scored = shuffled(ranked[: survey.clips], survey.seed, "extra")
    again = [scored[number % len(scored)] for number in range(count - len(spare))]
    return spare + again
