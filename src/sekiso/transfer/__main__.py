"""Runs the transfer server as a process of its own: `python -m sekiso.transfer --state FOLDER`."""

from __future__ import annotations

import argparse
from pathlib import Path

from sekiso.transfer.server import DEFAULT_PORT, ServerSettings, serve


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(prog="sekiso.transfer")
    parser.add_argument("--state", type=Path, required=True, help="folder for grants and sessions")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--key", type=Path)
    serve(ServerSettings(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
