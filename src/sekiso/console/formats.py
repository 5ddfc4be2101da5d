"""Numbers, sizes and times as the reader writes them (OP-3)."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from babel import numbers
from babel.dates import format_date, format_datetime, format_time, format_timedelta

from sekiso.console.reader import READER
from sekiso.i18n import translate

_UNITS = ("B", "KB", "MB", "GB", "TB", "PB")
_MINUTE_S, _HOUR_S = 60, 3600


def number(value: float) -> str:
    """Return a number with the separators of the reader's language."""
    return numbers.format_decimal(value, locale=READER.get().language)


def percent(value: float) -> str:
    """Return 0 to 100 as a percentage without decimals; what is not done never shows as 100 %."""
    shown = 99 if 99 < value < 100 else int(value)
    return numbers.format_percent(shown / 100, locale=READER.get().language)


def size(size_bytes: float | None) -> str:
    """Return an amount of data in units of 1024 with three digits at most; a dash where there is none."""
    if size_bytes is None:
        return "–"
    value, unit = float(size_bytes), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    pattern = "0" if unit == 0 or value >= 99.95 else "0.#"
    return f"{numbers.format_decimal(value, pattern, locale=READER.get().language)} {_UNITS[unit]}"


def when(time_s: float | None) -> str:
    """Return date and time of Unix seconds, to the minute."""
    return "–" if time_s is None else format_datetime(_local(time_s), "medium", locale=_locale())


def day(time_s: float | None) -> str:
    """Return the date of Unix seconds."""
    return "–" if time_s is None else format_date(_local(time_s), "medium", locale=_locale())


def clock(time_s: float | None) -> str:
    """Return the time of day of Unix seconds, with seconds."""
    return "–" if time_s is None else format_time(_local(time_s), "medium", locale=_locale())


def stamp(time_s: float) -> str:
    """Return date and time of Unix seconds as a log has them, the same in every language."""
    return _local(time_s).isoformat(sep=" ", timespec="seconds")


def iso(time_s: float) -> str:
    """Return Unix seconds for the attribute `datetime`."""
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds")


def ago(time_s: float | None) -> str:
    """Return how long ago Unix seconds were, or in what time they will be."""
    if time_s is None:
        return "–"
    delta_s = time_s - time.time()
    if abs(delta_s) < _MINUTE_S:
        return translate("just now", READER.get().language)
    return format_timedelta(timedelta(seconds=delta_s), add_direction=True, locale=_locale())


def duration(length_s: float | None) -> str:
    """Return a length of time as `1:02:03` or `2:03`."""
    if length_s is None:
        return "–"
    whole = max(0, int(length_s))
    hours, minutes, seconds = whole // _HOUR_S, whole % _HOUR_S // 60, whole % 60
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _local(time_s: float) -> datetime:
    return datetime.fromtimestamp(time_s, UTC).astimezone(READER.get().zone)


def _locale() -> str:
    # English dates day first and without AM/PM confusion: administrators of a Japanese product.
    return {"en": "en_GB"}.get(READER.get().language, READER.get().language)
