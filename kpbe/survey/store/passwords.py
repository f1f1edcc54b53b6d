"""The administrator's password: its argon2 hash, and a delay after wrong attempts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic

from kpbe.errors import SurveyError

SHORTEST = 10
FREE_ATTEMPTS = 3
LONGEST_WAIT = 300.0
REMEMBERED = 10_000
"""Most visitors to remember; a new one replaces the one who was wrong first."""


def password_hash(password: str) -> str:
    """The argon2id hash that goes into .streamlit/secrets.toml.

    Raises:
        SurveyError: the password is shorter than 10 characters.
    """
    from argon2 import PasswordHasher

    if len(password) < SHORTEST:
        raise SurveyError(f"The password must have at least {SHORTEST} characters.")
    return PasswordHasher().hash(password)


def is_password(password: str, hashed: str) -> bool:
    """Whether a password is the one that was hashed.

    Raises:
        SurveyError: `hashed` is not an argon2 hash.
    """
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return PasswordHasher().verify(hashed, password)
    except VerificationError:
        return False
    except InvalidHashError:
        raise SurveyError(
            "survey.admin_password in .streamlit/secrets.toml is not an argon2 hash: make one with `kpbe "
            "survey password`."
        ) from None


@dataclass
class LoginThrottle:
    """Allows one attempt at a time and delays visitors who were wrong too often: 2, 4, 8 .. 300 s.

    Attributes:
        clock: gives monotonic seconds.
    """

    clock: Callable[[], float] = monotonic
    _wrong: dict[str, int] = field(default_factory=dict)
    _open_at: dict[str, float] = field(default_factory=dict)
    _turn: Lock = field(default_factory=Lock)

    def wait_seconds(self, visitor: str) -> float:
        """Seconds that a visitor (an address) must wait before the next attempt; 0 if none."""
        return max(0.0, self._open_at.get(visitor, 0.0) - self.clock())

    def try_password(self, visitor: str, password: str, hashed: str) -> bool:
        """Try a password; False when it is wrong or the visitor has to wait."""
        with self._turn:
            if self.wait_seconds(visitor) > 0:
                return False
            if is_password(password, hashed):
                self._forget(visitor)
                return True
            if len(self._wrong) >= REMEMBERED:
                self._forget(next(iter(self._wrong)))
            self._wrong[visitor] = wrong = self._wrong.get(visitor, 0) + 1
            if wrong >= FREE_ATTEMPTS:
                wait = min(LONGEST_WAIT, 2.0 ** min(wrong - FREE_ATTEMPTS + 1, 10))
                self._open_at[visitor] = self.clock() + wait
            return False

    def _forget(self, visitor: str) -> None:
        self._wrong.pop(visitor, None)
        self._open_at.pop(visitor, None)
