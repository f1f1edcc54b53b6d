"""Work that goes on beside the reader: decoding ahead of a network, a network ahead of an encoder."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from queue import Full, Queue
from threading import Event, Thread
from typing import Any, TypeVar

Item = TypeVar("Item")

WAIT_SECONDS = 0.1
"""How long a full queue is waited for before looking whether anybody still reads."""


def prefetched(items: Iterable[Item], ahead: int = 32) -> Generator[Item]:
    """The same items in the same order, made by a thread that runs up to `ahead` items before the reader.

    Video coders, OpenCV and torch release the interpreter lock, so both sides really run at once. An error of
    the items is raised at its place; when the reader stops early, the thread ends after the item it is at.

    Args:
        items: anything iterable, e.g. decoded frames.
        ahead: largest number of items that wait to be read; bounds the memory.
    """
    waiting: Queue[tuple[str, Any]] = Queue(ahead)
    closed = Event()

    def put(kind: str, value: Any = None) -> bool:
        while not closed.is_set():
            try:
                waiting.put((kind, value), timeout=WAIT_SECONDS)
                return True
            except Full:
                continue
        return False

    def produce() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end")
        except BaseException as error:
            put("error", error)

    worker = Thread(target=produce, name="prefetched", daemon=True)
    worker.start()
    try:
        while True:
            kind, value = waiting.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        closed.set()
        worker.join()
