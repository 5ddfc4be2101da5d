"""Parameters of paths that many routes have."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

from sekiso.web.bodies import LINE

Ref = Annotated[
    str, Path(min_length=1, max_length=200, pattern=LINE, description="Identifier or name of the object.")
]
Id = Annotated[str, Path(min_length=1, max_length=200, pattern=LINE, description="Identifier of the object.")]
