"""A progress whose user cancels."""

from __future__ import annotations

from sekiso.model.progress import SilentProgress


class CancelAfter(SilentProgress):
    """Canceled from the n-th question on; `asked` counts the questions."""

    def __init__(self, calls: int) -> None:
        self._calls = calls
        self.asked = 0

    def canceled(self) -> bool:
        self.asked += 1
        return self.asked > self._calls
