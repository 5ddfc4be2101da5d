"""Names of keys, the same for every driver."""

from __future__ import annotations

import string
from collections.abc import Sequence

from sekiso.errors import RuleError

MODIFIERS = ("alt", "ctrl", "meta", "shift")
NAMED = (
    "backspace", "delete", "down", "end", "enter", "esc", "home", "insert", "left", "pagedown", "pageup",
    "right", "space", "tab", "up", "comma", "dot", "equal", "minus", "slash",
    *(f"f{n}" for n in range(1, 13)),
)  # fmt: skip
KNOWN = frozenset((*MODIFIERS, *NAMED, *string.ascii_lowercase, *string.digits))


def parse_keys(keys: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Split key presses such as `a`, `enter`, `ctrl-alt-delete` into the keys pressed together.

    Raises:
        RuleError: a key that is not known.
    """
    presses = tuple(tuple(k.split("-")) for k in keys)
    for press in presses:
        for key in press:
            if key not in KNOWN:
                raise RuleError(
                    field="keys",
                    reason=f"There is no key named {key!r}.",
                    remedy=f"Keys are letters, digits and: {', '.join((*MODIFIERS, *NAMED))}.",
                )
    return presses
