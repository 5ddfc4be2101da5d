"""Forms as a browser sends them, read field by field."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile

from sekiso.web.validation import invalid_request

_Body = TypeVar("_Body", bound=BaseModel)
_MOST_FIELDS, _LONGEST_FIELD_BYTES = 2000, 1 << 20


class Form:
    """A form that was sent. Every value is text; a field that was not sent is as an empty one."""

    def __init__(self, data: FormData) -> None:
        """Read a form."""
        self._data = data

    def __contains__(self, name: str) -> bool:
        """Return whether a field was sent."""
        return name in self._data

    def text(self, name: str, default: str = "") -> str:
        """Return what was typed, with line ends as Unix has them and no white space around it."""
        value = self._data.get(name, default)
        return value.replace("\r\n", "\n").strip() if isinstance(value, str) else default

    def secret(self, name: str) -> str:
        """Return what was typed exactly as it was."""
        value = self._data.get(name, "")
        return value if isinstance(value, str) else ""

    def maybe(self, name: str) -> str | None:
        """Return what was typed, None if it is nothing."""
        return self.text(name) or None

    def flag(self, name: str) -> bool:
        """Return whether a box was checked."""
        return self.text(name) in ("on", "true", "1")

    def number(self, name: str) -> int | str | None:
        """Return a whole number; None if nothing was typed; the text itself if it is no number."""
        typed = self.text(name)
        try:
            return int(typed) if typed else None
        except ValueError:
            return typed

    def many(self, name: str) -> tuple[str, ...]:
        """Return all values of a field that may be sent several times, without empty ones."""
        return tuple(v for v in self._data.getlist(name) if isinstance(v, str) and v)

    def file(self, name: str) -> UploadFile | None:
        """Return a file that was chosen."""
        value = self._data.get(name)
        return value if isinstance(value, UploadFile) and value.filename else None

    def values(self) -> dict[str, str]:
        """Return every text field (of several values the last)."""
        return {name: self.text(name) for name in self._data if isinstance(self._data.get(name), str)}


def checked(kind: type[_Body], values: Mapping[str, Any]) -> _Body:
    """Return a body of the REST API made of what a form holds: one set of rules for both.

    Raises:
        RequestInvalidError: it breaks rules; names the fields.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        found = [{**entry, "loc": ("body", *entry["loc"])} for entry in error.errors()]
        raise invalid_request(found) from error


async def _form(request: Request) -> AsyncIterator[Form]:
    # Files that were sent are closed, and gone, when the answer is there.
    async with request.form(max_fields=_MOST_FIELDS, max_part_size=_LONGEST_FIELD_BYTES) as data:
        yield Form(data)


#: The form of a request, as a parameter of a route.
Sent = Annotated[Form, Depends(_form)]
