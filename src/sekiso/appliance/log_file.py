"""The appliance's log file: beside standard error, of a limited size, without secrets (OP-4)."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path

NAME = "appliance.log"
MAX_BYTES = 10 << 20
#: Older files are appliance.log.1, the youngest of them, to appliance.log.5.
KEPT_FILES = 5
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_HIDDEN = "(hidden)"
#: What looks like a secret, whoever logs it: keys, passwords in addresses, tokens, sessions, grants.
_SECRETS = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(r"(?<=://)[^\s/@:]*:[^\s/]+(?=@)"),
    re.compile(r"(?i)(?<=bearer )\S+"),
    re.compile(r"(?i)(?<=sekiso_session=)[^\s;\"']+"),
    re.compile(r"(?i)\b(?:password|passphrase|secret|token)[\"']?\s*[=:]\s*[\"']?[^\s\"',;)}]+"),
    re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{20,100}\.[0-9a-f]{64}\b"),
    re.compile(r"\b[0-9a-f]{32}\.[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])"),
)


def without_secrets(text: str) -> str:
    """Return a text with everything hidden that looks like a secret."""
    for pattern in _SECRETS:
        text = pattern.sub(_HIDDEN, text)
    return text


class _Formatter(logging.Formatter):
    """Hides secrets, in messages and in tracebacks alike."""

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


class _PrivateFile(RotatingFileHandler):
    """A log file that only its owner can read."""

    def _open(self) -> object:  # type: ignore[override]
        fd = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return os.fdopen(fd, "a", encoding="utf-8", errors="backslashreplace")


@contextmanager
def log_file(folder: Path) -> Generator[Path]:
    """Write what is logged to `appliance.log` in a folder as well, until the end of the block."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handler = _PrivateFile(folder / NAME, maxBytes=MAX_BYTES, backupCount=KEPT_FILES)
    handler.setFormatter(_Formatter(_FORMAT))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield folder / NAME
    finally:
        root.removeHandler(handler)
        handler.close()
