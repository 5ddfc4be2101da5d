"""Linux guests of the Debian family: Debian and Ubuntu."""

from sekiso.guests.linux.guest import LinuxSupport

__all__ = ["LinuxSupport"]
