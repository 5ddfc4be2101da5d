"""What tests that cut connections leave behind."""

from __future__ import annotations

import gc
import warnings


def forget_connections() -> None:
    """Have connections that were cut collected here, so that no other test hears that nobody closed them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
