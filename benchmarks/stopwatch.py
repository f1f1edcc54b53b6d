"""How long the parts of a procedure take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter


class Stopwatch:
    """Adds up the seconds of named parts; a part that runs on a GPU must end with a copy to the CPU, which
    waits for it.

    Attributes:
        seconds: part to seconds.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a block."""
        started = perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += perf_counter() - started
