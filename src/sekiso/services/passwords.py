"""Passwords: which can be used, their argon2id hashes, and comparing (OP-4)."""

from __future__ import annotations

import threading

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from sekiso.errors import RuleError

MIN_PASSWORD_CHARS, MAX_PASSWORD_CHARS = 10, 1000
#: Each takes tens of megabytes of memory: many logins at once wait for each other.
_AT_ONCE = 4


class Passwords:
    """Hashes and compares passwords. Thread-safe."""

    def __init__(self, hasher: PasswordHasher) -> None:
        """Prepare.

        Args:
            hasher: argon2id with its parameters.
        """
        self._hasher = hasher
        self._turns = threading.BoundedSemaphore(_AT_ONCE)

    def hashed(self, name: str, password: str) -> str:
        """Return the hash of a new password.

        Args:
            name: login name of its user.
            password: the password.

        Raises:
            RuleError: it cannot be used.
        """
        if not MIN_PASSWORD_CHARS <= len(password) <= MAX_PASSWORD_CHARS:
            raise RuleError(
                field="password",
                reason="A password has 10 to 1000 characters.",
                remedy="Choose another password.",
            )
        if password.casefold() == name.casefold():
            raise RuleError(
                field="password",
                reason="The password is the login name.",
                remedy="Choose another password.",
            )
        return self._hash(password)

    def match(self, hashed: str, password: str) -> bool:
        """Whether a password is the one of a hash; takes the same time if it is not."""
        with self._turns:
            try:
                return self._hasher.verify(hashed, _bytes(password))
            except (VerificationError, InvalidHashError):
                return False

    def renewed(self, hashed: str, password: str) -> str | None:
        """Return a new hash of a password if the old one has other parameters; None if it has not."""
        return self._hash(password) if self._hasher.check_needs_rehash(hashed) else None

    def _hash(self, password: str) -> str:
        with self._turns:
            return self._hasher.hash(_bytes(password))


def _bytes(password: str) -> bytes:
    # Longer ones than can be set are right for nobody; JSON can hold halves of characters.
    return password[: MAX_PASSWORD_CHARS + 1].encode("utf-8", "surrogatepass")
