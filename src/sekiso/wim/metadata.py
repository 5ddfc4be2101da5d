"""The metadata resource of a WIM image: its bytes to a tree and back.

Layout: a table of security descriptors, the root's directory entry, then one list of directory entries per
folder, each ended by eight zero bytes. An entry is 102 fixed bytes, its long and short names, tagged items,
and after it one extra entry per stream where one hash does not say it all.

Source: [MS-WIM] 2.6 and what libwim 1.13.6 reads and writes where that document is silent.
"""

from __future__ import annotations

from sekiso.wim.parsing import MAX_DEPTH, parse_metadata
from sekiso.wim.serializing import serialize_metadata

__all__ = ["MAX_DEPTH", "parse_metadata", "serialize_metadata"]
