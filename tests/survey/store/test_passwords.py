"""Wrong passwords cost time."""

from __future__ import annotations

from argon2 import PasswordHasher

from kpbe.survey.store.passwords import LONGEST_WAIT, Door

RIGHT, WRONG = "correct horse", "battery staple"
HASH = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(RIGHT)  # quick, the same rules


def test_wrong_passwords_make_wait_ever_longer_and_the_right_one_too():
    time = [1000.0]
    door = Door(clock=lambda: time[0])
    assert not any(door.knock("a", WRONG, HASH) for _ in range(2))
    assert door.wait_seconds("a") == 0
    waits = []
    for _ in range(10):
        assert not door.knock("a", WRONG, HASH)
        waits.append(door.wait_seconds("a"))
        assert not door.knock("a", RIGHT, HASH), "even the right one, while waiting"
        time[0] += waits[-1]
    assert waits[:3] == [2, 4, 8] and waits == sorted(waits) and waits[-1] == LONGEST_WAIT
    assert door.knock("a", RIGHT, HASH)
    assert not door.knock("a", WRONG, HASH) and door.wait_seconds("a") == 0


def test_one_visitor_does_not_shut_out_another():
    door = Door(clock=lambda: 0.0)
    for _ in range(5):
        door.knock("a", WRONG, HASH)
    assert door.wait_seconds("a") > 0
    assert door.knock("b", RIGHT, HASH)
