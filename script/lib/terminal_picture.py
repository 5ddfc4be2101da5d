"""Draws the text of a terminal as an SVG picture, for the README.

usage: script/demo | tee demo.txt; python script/lib/terminal_picture.py TITLE OUT.svg < demo.txt
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console


def main() -> int:
    title, target = sys.argv[1:3]
    console = Console(record=True, width=118, file=io.StringIO(), markup=False, highlight=False)
    for line in sys.stdin.read().splitlines():
        console.print(line, overflow="ellipsis", no_wrap=True)
    picture = console.export_svg(title=title)
    # The fonts would come from elsewhere; whoever looks at the picture has a monospace font of their own.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    Path(target).write_text(picture, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
