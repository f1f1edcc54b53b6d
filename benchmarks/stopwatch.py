"""How long the parts of a procedure take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter


class Stopwatch:
    """Adds up the seconds of named parts.

    A part that runs on a GPU must end with a copy to the CPU, which waits for the GPU.

    Attributes:
        seconds: part to seconds.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a block and add it to the part."""
        started = perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += perf_counter() - started
