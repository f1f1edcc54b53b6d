"""Wrong passwords cost time."""

from __future__ import annotations

from argon2 import PasswordHasher

from kpbe.survey.store.passwords import LONGEST_WAIT, LoginThrottle

RIGHT, WRONG = "correct horse", "battery staple"
HASH = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(RIGHT)  # quick, the same rules


def test_wrong_passwords_make_wait_ever_longer_and_the_right_one_too():
    time = [1000.0]
    throttle = LoginThrottle(clock=lambda: time[0])
    assert not any(throttle.try_password("a", WRONG, HASH) for _ in range(2))
    assert throttle.wait_seconds("a") == 0
    waits = []
    for _ in range(10):
        assert not throttle.try_password("a", WRONG, HASH)
        waits.append(throttle.wait_seconds("a"))
        assert not throttle.try_password("a", RIGHT, HASH), "even the right one, while waiting"
        time[0] += waits[-1]
    assert waits[:3] == [2, 4, 8] and waits == sorted(waits) and waits[-1] == LONGEST_WAIT
    assert throttle.try_password("a", RIGHT, HASH)
    assert not throttle.try_password("a", WRONG, HASH) and throttle.wait_seconds("a") == 0


def test_one_visitor_does_not_shut_out_another():
    throttle = LoginThrottle(clock=lambda: 0.0)
    for _ in range(5):
        throttle.try_password("a", WRONG, HASH)
    assert throttle.wait_seconds("a") > 0
    assert throttle.try_password("b", RIGHT, HASH)
