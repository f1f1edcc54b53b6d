"""Balanced orders of items: a Williams design over the methods, with clips that rotate from rater to rater.

A session has one block for each scored clip. In a block every method appears once, each with another clip, in
the order of a row of a Williams square (E. J. Williams 1949: in its rows every method comes equally often at
each place and directly after each other one). The rows are dealt out in turn to the blocks of all raters, so
the counts over any number of raters differ by as little as the rows allow. Checks and repeats are placed
between blocks, where they separate no balanced pair.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from kpbe.survey.study.design import Item, shuffled

SAME_CLIP = 1000
"""Cost of a clip directly after itself, or of each place by which a repeat comes too early."""
SAME_IDENTITY = 10
NEAR_CLIP = 1
"""Cost of a clip two places after itself."""

DEALS = 12
"""Shufflings of a rater's rows to try, so that no method follows itself where blocks meet."""

KICKS, MOST_KICKS, KICKED = 30, 600, 4
"""Restarts of a stuck search (the second number if a clip follows itself or a repeat comes too early), and
the random exchanges of a restart."""


def williams_rows(count: int) -> list[tuple[int, ...]]:
    """Rows of a Williams square over 0..count-1: `count` of them where that is even, else twice as many.

    Over all rows each number is equally often at each place, and each ordered pair of neighbours occurs
    equally often (once for an even count, twice for an odd one). Over any number of rows, dealt out from the
    first one on and repeated, the counts of the places differ by at most 1, those of the pairs by at most 1
    (even count) or 2 (odd).
    """
    zigzag = [(k + 1) // 2 if k % 2 else (count - k // 2) % count for k in range(count)]
    square = [tuple((place + row) % count for place in zigzag) for row in range(count)]
    return square if count % 2 == 0 else square + [row[::-1] for row in square]


def session_orders(
    items: Sequence[Item], raters: int, repeats: int, seed: int
) -> tuple[tuple[str, ...], ...]:
    """The items of each rater in the order in which they are shown.

    Each rater sees all main, reference, trap and gold items and `repeats` of the repeats (in turn), no
    training items.

    Guaranteed for every seed: each block has every method once; checks and repeats are between blocks; over
    all raters, and over the first few of them, the methods' places in the block and their order in it are
    balanced as `williams_rows` says; the orders of the first raters stay the same when more are planned.

    Sought by exchanging clips among blocks, in this order of importance: no clip (of any kind) directly after
    itself, and a repeat at least a third of the session after its original (both were reached in every tried
    study of four clips or more, and are tested); no identity after itself; no clip two places after itself.
    `breaches` counts the failures.

    Args:
        items: from `design_items`.
        raters: number of orders, at least 1.
        repeats: repeats for each rater; fewer if there are fewer.
        seed: `survey.seed`.
    """
    design = _Design(items, repeats, seed)
    return tuple(tuple(item.item for item in design.session(rater)) for rater in range(raters))


class Breaches(NamedTuple):
    """Numbers of broken rules: a clip or identity directly after itself; a repeat too near its original."""

    clip: int
    identity: int
    repeat: int


def breaches(order: Sequence[Item]) -> Breaches:
    """Count the broken rules of an order."""
    neighbours = list(pairwise(order))
    place = {item.item: index for index, item in enumerate(order)}
    return Breaches(
        sum(a.clip_id == b.clip_id for a, b in neighbours),
        sum(a.identity == b.identity and a.clip_id != b.clip_id for a, b in neighbours),
        sum(place[item.item] - place[item.repeats] < _third(order) for item in order if item.repeats),
    )


def _third(order: Sequence[Item]) -> int:
    return -(-len(order) // 3)


class _Design:
    """What the sessions of all raters share, and how often methods met where blocks meet."""

    def __init__(self, items: Sequence[Item], repeats: int, seed: int) -> None:
        self.seed = seed
        scored = {(i.method, i.clip_id): i for i in items if i.kind in ("main", "reference")}
        self.methods = shuffled(sorted({method for method, _ in scored}), seed, "methods")
        self.clips = shuffled(sorted({clip for _, clip in scored}), seed, "places")
        self.scored = scored
        self.checks = [item for item in items if item.kind in ("trap", "gold")]
        self.repeats = [item for item in items if item.kind == "repeat"]
        self.repeats_each = min(repeats, len(self.repeats))
        self.rows = williams_rows(len(self.methods))
        self.met: Counter[tuple[int, int]] = Counter()

    def session(self, rater: int) -> list[Item]:
        """The order of the next rater; call it for one rater after the other."""
        blocks = [
            [self.scored[self.methods[m], self._clip(m, block, rater)] for m in row]
            for block, row in enumerate(self._rows_of(rater))
        ]
        between = self._between_blocks(rater, len(blocks))
        order = [
            item for number, block in enumerate(blocks, 1) for item in (*block, *between.get(number, ()))
        ]
        return _Repair(order).result(self.seed, "kick", rater)

    def _clip(self, method: int, block: int, rater: int) -> str:
        """The clip of a method in a block.

        Each method goes through all clips, two apart from the next method, and starts one clip later with
        each rater.
        """
        return self.clips[(block + 2 * method + rater) % len(self.clips)]

    def _rows_of(self, rater: int) -> list[tuple[int, ...]]:
        """The rater's rows, ordered so that methods that meet between blocks differ and met seldom before."""
        blocks = len(self.clips)
        rows = [self.rows[(rater * blocks + block) % len(self.rows)] for block in range(blocks)]
        deals = [self._deal(shuffled(rows, self.seed, "rows", rater, deal)) for deal in range(DEALS)]
        _, dealt = min(deals, key=lambda deal: deal[0])
        self.met.update(_meetings(dealt))
        return dealt

    def _deal(self, rows: list[tuple[int, ...]]) -> tuple[tuple[int, int], list[tuple[int, ...]]]:
        dealt, left, met = rows[:1], rows[1:], self.met.copy()
        while left:
            last = dealt[-1][-1]
            best = min(range(len(left)), key=lambda k: (left[k][0] == last, met[last, left[k][0]], k))
            dealt.append(left.pop(best))
            met[last, dealt[-1][0]] += 1
        same = sum(a == b for a, b in _meetings(dealt))
        return (same, sum(count**2 for count in met.values())), dealt

    def _between_blocks(self, rater: int, blocks: int) -> dict[int, list[Item]]:
        """Items after each block (from 1): checks spread over the session, repeats in its last third."""
        between: dict[int, list[Item]] = {}
        checks = shuffled(self.checks, self.seed, "checks", rater)
        gaps = max(1, blocks - 1)
        for number, item in enumerate(checks):
            low, high = number * gaps // len(checks), (number + 1) * gaps // len(checks)
            gap = shuffled(range(low, max(high, low + 1)), self.seed, "gap", rater, number)[0]
            between.setdefault(1 + gap, []).append(item)
        for number, item in enumerate(self._repeats_of(rater)):
            late = shuffled(range(-(-5 * blocks // 6), blocks + 1), self.seed, "repeat", rater, number)
            # a repeat keeps its place, and so does a lone check, so no exchange could separate them later
            apart = [k for k in late if k not in between or between[k][-1].clip_id != item.clip_id]
            between.setdefault((apart or late)[0], []).append(item)
        return between

    def _repeats_of(self, rater: int) -> list[Item]:
        """The next repeats in turn; further repeats of the same clip come last."""
        first = rater * self.repeats_each
        chosen: list[Item] = []
        again: list[Item] = []
        for k in range(len(self.repeats)):
            item = self.repeats[(first + k) % len(self.repeats)]
            taken = any(item.clip_id == other.clip_id for other in chosen)
            (again if taken else chosen).append(item)
        return (chosen + again)[: self.repeats_each]


def _meetings(rows: Sequence[tuple[int, ...]]) -> list[tuple[int, int]]:
    return [(before[-1], after[0]) for before, after in pairwise(rows)]


class _Repair:
    """Exchanges two items of the same method, or two checks, as long as that lowers the cost of an order.

    The places of the methods never change.
    """

    def __init__(self, order: list[Item]) -> None:
        self.order = order
        apart = _third(order)
        self.latest = {item.repeats: place - apart for place, item in enumerate(order) if item.repeats}
        groups: dict[str, list[int]] = {}
        for place, item in enumerate(order):
            if item.kind != "repeat":
                groups.setdefault("check" if item.kind in ("trap", "gold") else item.method, []).append(place)
        self.partners = {place: places for places in groups.values() for place in places}

    def result(self, *key: object) -> list[Item]:
        """The best order found; `key` seeds the random exchanges that lead out of a dead end.

        Restarts are made only where a better order seems possible.
        """
        best, cost = self._descend(), self._total()
        promising = cost >= SAME_CLIP or SAME_IDENTITY <= cost < 5 * SAME_IDENTITY
        for attempt in range(MOST_KICKS if promising else 0):
            if attempt >= KICKS and cost < SAME_CLIP:
                break
            self.order = list(best)
            for a in shuffled(sorted(self.partners), *key, attempt)[: KICKED * (1 + attempt // KICKS % 3)]:
                self._exchange(a, shuffled(self.partners[a], *key, attempt, a)[0])
            order = self._descend()
            if self._total() < cost:
                best, cost = order, self._total()
            if cost < SAME_IDENTITY:
                break
        return best

    def _descend(self) -> list[Item]:
        """Make the best exchange until none lowers the cost."""
        while True:
            exchanges = [
                (self._change(a, b), a, b)
                for a in range(len(self.order))
                if self._cost(a) or self._cost_of_next(a)
                for b in self.partners.get(a, ())
                if b != a
            ]
            change, a, b = min(exchanges, default=(0, 0, 0))
            if change >= 0:
                return list(self.order)
            self._exchange(a, b)

    def _total(self) -> int:
        return sum(map(self._cost, range(len(self.order))))

    def _exchange(self, a: int, b: int) -> None:
        self.order[a], self.order[b] = self.order[b], self.order[a]

    def _change(self, a: int, b: int) -> int:
        touched = {place + k for place in (a, b) for k in (0, 1, 2) if place + k < len(self.order)}
        before = sum(map(self._cost, touched))
        self._exchange(a, b)
        after = sum(map(self._cost, touched))
        self._exchange(a, b)
        return after - before

    def _cost_of_next(self, place: int) -> int:
        return sum(self._cost(p) for p in (place + 1, place + 2) if p < len(self.order))

    def _cost(self, place: int) -> int:
        """Cost of the item at a place, given the two items before it."""
        item = self.order[place]
        cost = SAME_CLIP * max(0, place - self.latest.get(item.item, place))
        if place >= 1:
            before = self.order[place - 1]
            if before.clip_id == item.clip_id:
                cost += SAME_CLIP
            elif before.identity == item.identity:
                cost += SAME_IDENTITY
        if place >= 2 and self.order[place - 2].clip_id == item.clip_id:
            cost += NEAR_CLIP
        return cost
