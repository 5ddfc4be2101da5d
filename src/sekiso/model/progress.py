"""How long work tells its progress and learns that it was canceled."""

from __future__ import annotations

from typing import Protocol

from sekiso.errors import CanceledError


class Progress(Protocol):
    """Receives the progress of one piece of work and hands its cancellation back."""

    def step(self, name: str, *, total: int | None = None) -> None:
        """Begin a step; `total` is in whatever unit `advance` counts (bytes, mostly)."""
        ...

    def advance(self, done: int) -> None:
        """Say how much of the current step is done so far (absolute, same unit as `total`)."""
        ...

    def canceled(self) -> bool:
        """Whether the user canceled the work."""
        ...


class SilentProgress:
    """A progress that nobody watches and nobody cancels."""

    def step(self, name: str, *, total: int | None = None) -> None:
        """Ignore the step."""

    def advance(self, done: int) -> None:
        """Ignore the amount."""

    def canceled(self) -> bool:
        """Never canceled."""
        return False


NO_PROGRESS = SilentProgress()


def check_canceled(progress: Progress) -> None:
    """Stop here if the user canceled.

    Raises:
        CanceledError: the work was canceled.
    """
    if progress.canceled():
        raise CanceledError
