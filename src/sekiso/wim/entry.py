"""The fixed parts of a directory entry of WIM metadata; see `sekiso.wim.metadata`."""

from __future__ import annotations

import struct

# length, attributes, security id, offset of the child list, two unused, three times, hash of the main
# stream, unknown, reparse point or link group, number of extra streams, bytes of short and long name
ENTRY = struct.Struct("<QIiQ16xQQQ20s4xQHHH")
STREAM = struct.Struct("<QQ20sH")  # length, reserved, hash, bytes of the name
QWORD = struct.Struct("<Q")
ENTRY_BYTES = 102
STREAM_BYTES = 38
LIST_FIELD = 16  # where the offset of the child list lies in an entry
