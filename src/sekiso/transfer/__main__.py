"""Runs the transfer server as a process of its own: `python -m sekiso.transfer --state FOLDER`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from sekiso.transfer.server import DEFAULT_PORT, ServerSettings, serve


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(prog="sekiso.transfer")
    parser.add_argument("--state", type=Path, required=True, help="folder for grants and sessions")
    parser.add_argument("--sessions", type=Path, help="folder for upload sessions of this process alone")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--key", type=Path)
    parser.add_argument(
        "--with-parent", action="store_true", help="end when standard input closes, as it does with a parent"
    )
    arguments = vars(parser.parse_args())
    if arguments.pop("with_parent"):
        threading.Thread(target=_end_with_parent, daemon=True).start()
    serve(ServerSettings(**arguments))


def _end_with_parent() -> None:
    # A parent that is killed closes its end of the pipe: nothing goes on serving without its appliance.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
