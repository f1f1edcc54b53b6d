"""Reading ahead: the same items, bounded memory, errors at their place, threads that end."""

from __future__ import annotations

import threading
import time

import pytest

from kpbe.media.prefetch import prefetched


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetched"]


def test_items_come_in_order_and_the_thread_ends():
    assert list(prefetched(range(1000), ahead=3)) == list(range(1000))
    assert not workers()


def test_no_more_is_made_than_may_wait():
    made = []
    reader = prefetched((made.append(i) or i for i in range(100)), ahead=4)
    assert next(reader) == 0
    deadline = time.monotonic() + 5
    while len(made) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)
    assert len(made) == 6  # one read, four waiting, one in hand
    reader.close()
    assert not workers()


def test_an_error_comes_after_the_items_before_it():
    def items():
        yield 1
        raise ValueError("torn")

    reader = prefetched(items())
    assert next(reader) == 1
    with pytest.raises(ValueError, match="torn"):
        next(reader)
    assert not workers()


def test_making_and_reading_overlap():
    together = threading.Barrier(2, timeout=10)

    def items():
        for i in range(3):
            if i == 2:
                together.wait()  # passes only while the reader is at work on an earlier item
            yield i

    for i in prefetched(items(), ahead=4):
        if i == 0:
            together.wait()
