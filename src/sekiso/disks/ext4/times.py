"""Times of ext4 and of WIM. WIM counts 100 ns, so the last two digits of a nanosecond are lost."""

from __future__ import annotations

#: Seconds from 1601-01-01 to 1970-01-01.
_EPOCH_S = 11_644_473_600
_TICKS = 10_000_000
_LAST_SECOND = (3 << 32) + 0x7FFFFFFF
_FIRST_SECOND = -0x80000000


def to_filetime(seconds: int, extra: int) -> int:
    """Convert an inode's time field to a FILETIME.

    Args:
        seconds: the 32-bit field, as an unsigned number.
        extra: the field beside it: two more bits of seconds below 30 bits of nanoseconds.

    Source: ext4 "Inode Timestamps".
    """
    signed = seconds - (1 << 32) if seconds & 0x80000000 else seconds
    signed += (extra & 3) << 32
    nanoseconds = min(extra >> 2, 999_999_999)
    return (signed + _EPOCH_S) * _TICKS + nanoseconds // 100


def from_filetime(filetime: int) -> tuple[int, int]:
    """Return an inode's time field and its extra field; times that ext4 cannot hold become the nearest."""
    seconds, ticks = divmod(filetime, _TICKS)
    seconds -= _EPOCH_S
    if seconds < _FIRST_SECOND:
        seconds, ticks = _FIRST_SECOND, 0
    elif seconds > _LAST_SECOND:
        seconds, ticks = _LAST_SECOND, _TICKS - 1
    low = seconds & 0xFFFFFFFF
    signed = low - (1 << 32) if low & 0x80000000 else low
    return low, ((seconds - signed) >> 32) | (ticks * 100) << 2
