"""WIM metadata to a tree; see `sekiso.wim.metadata`."""

from __future__ import annotations

import struct

from sekiso.errors import DamagedInputError
from sekiso.wim.entry import ENTRY, ENTRY_BYTES, QWORD, STREAM, STREAM_BYTES
from sekiso.wim.tagged import NO_ITEMS, TAG_UNIX_DATA, Items, parse_items
from sekiso.wim.tree import DIRECTORY, ENCRYPTED, NO_BLOB, REPARSE_POINT, Node, Reparse

#: Deeper folders than any real file system has.
MAX_DEPTH = 4096
# All paths of a tree together may be this much longer than its metadata: far from what real trees have, and
# whoever keeps all paths of a hostile one does not run out of memory.
_PATHS_FACTOR = 16
_PATHS_BASE = 16 << 20


def parse_metadata(data: bytes, *, source: str) -> Node:
    """Parse the metadata resource of one image.

    Security descriptors and unix data that are equal are shared objects; link groups are numbered from 1
    in the order of the resource, and a group of one becomes 0.

    Args:
        data: the whole uncompressed resource.
        source: what error messages call the file it came from.

    Returns:
        The root folder.

    Raises:
        DamagedInputError: the resource breaks the format; names the offset inside the resource.
    """
    return _Parser(data, source).tree()


class _Parser:
    def __init__(self, data: bytes, source: str) -> None:
        self.data = data
        self.source = source
        self.used = 0  # bytes of entries read; more than there are means that lists overlap
        self.security: list[bytes] = []
        self.links: list[tuple[int, Node]] = []
        self.items: dict[bytes, Items] = {b"": NO_ITEMS}

    def damaged(self, offset: int, reason: str) -> DamagedInputError:
        return DamagedInputError(path=self.source, offset=offset, reason=f"In its image metadata: {reason}")

    def tree(self) -> Node:
        start = self.read_security()
        root, list_offset, _ = self.entry(start)
        if root.children is None:
            raise self.damaged(start, "the root entry is not a folder.")
        root.name = root.short_name = ""
        todo = [(root.children, list_offset, 1, 1)]
        left = _PATHS_BASE + _PATHS_FACTOR * len(self.data)
        while todo:
            children, offset, depth, length = todo.pop()
            if not offset:
                continue
            folders = self.folder(children, offset)
            left -= length * len(children)
            if depth > MAX_DEPTH or left < 0:
                raise self.damaged(offset, f"folders are nested too deep (depth {depth}).")
            todo += reversed([(c, o, depth + 1, length + 1 + len(name)) for name, c, o in folders])
        self.number_links()
        return root

    def read_security(self) -> int:
        """Read the table of security descriptors; returns the offset of the root entry."""
        data = self.data
        if len(data) < 8:
            raise self.damaged(0, "it ends inside the security table.")
        total, count = struct.unpack_from("<II", data)
        total = max(8, (total + 7) & ~7)
        if total > len(data) or 8 + 8 * count > total:
            raise self.damaged(0, f"the security table claims {count} descriptors in {total} bytes.")
        at = 8 + 8 * count
        for number, size in enumerate(struct.unpack_from(f"<{count}Q", data, 8)):
            if size > total - at:
                raise self.damaged(8 + 8 * number, f"security descriptor {number} is longer than its table.")
            self.security.append(data[at : at + size])
            at += size
        return total

    def folder(self, children: dict[str, Node], offset: int) -> list[tuple[str, dict[str, Node], int]]:
        """Read one list of entries into `children`; returns names, entries and lists of the folders in it."""
        folders: list[tuple[str, dict[str, Node], int]] = []
        data, unpack, limit = self.data, QWORD.unpack_from, len(self.data) - 8
        while True:
            if offset > limit:
                raise self.damaged(offset, "a folder's list of entries runs past the end.")
            if unpack(data, offset)[0] <= 8:
                return folders
            node, list_offset, after = self.entry(offset)
            name = node.name
            self.used += after - offset
            if name in children:
                raise self.damaged(offset, f"the name {name!r} is twice in one folder.")
            if name in ("", ".", "..") or "/" in name or "\0" in name:
                raise self.damaged(offset, f"{name!r} cannot be a file name.")
            if self.used > len(data):
                raise self.damaged(offset, "folders overlap or contain each other.")
            children[name] = node
            if node.children is not None:
                folders.append((name, node.children, list_offset))
            elif list_offset:
                raise self.damaged(offset, f"the file {name!r} has a list of entries.")
            offset = after

    def entry(self, offset: int) -> tuple[Node, int, int]:
        """Read one entry; returns it, the offset of its child list (0: none) and of the next entry."""
        data = self.data
        if offset + ENTRY_BYTES > len(data):
            raise self.damaged(offset, "it ends inside a directory entry.")
        fields = ENTRY.unpack_from(data, offset)
        length, attributes, _, list_offset, created, accessed, written, sha1, link = fields[:9]
        security: int = fields[2]
        streams, short_bytes, name_bytes = fields[9:]
        end = offset + ((length + 7) & ~7)
        at = offset + ENTRY_BYTES
        need = (name_bytes + 2 if name_bytes else 0) + (short_bytes + 2 if short_bytes else 0)
        if end > len(data) or at + need > end:
            raise self.damaged(offset, f"a directory entry of {length} bytes cannot hold what it claims.")
        name = short = ""
        if name_bytes:
            name = self.text(at, name_bytes)
            at += name_bytes + 2
        if short_bytes:
            short = self.text(at, short_bytes)
            at += short_bytes + 2
        raw = data[(at + 7) & ~7 : min(end, offset + length)]
        items = self.items.get(raw) or self.keep_items(raw)
        reparse: Reparse | None = None
        named: tuple[tuple[str, bytes], ...] = ()
        if streams or attributes & (REPARSE_POINT | ENCRYPTED):
            unnamed, named, end = self.streams(end, streams)
            if sha1 != NO_BLOB:
                unnamed.insert(0, sha1)
            sha1, reparse = _assign(attributes, link, unnamed)
            if attributes & ENCRYPTED:
                named = ()
        descriptor: bytes | None = None
        if 0 <= security < len(self.security):
            descriptor = self.security[security] or None
        node = Node(
            name,
            attributes,
            created,
            accessed,
            written,
            descriptor,
            short,
            NO_BLOB if sha1 == NO_BLOB or attributes & DIRECTORY else sha1,
            named,
            reparse,
            0,
            items[0],
            items[1],
            items[2],
            items[3],
            {} if attributes & DIRECTORY else None,
        )
        if link and not attributes & (DIRECTORY | REPARSE_POINT):
            self.links.append((link, node))
        return node, list_offset, end

    def text(self, at: int, length: int) -> str:
        if length & 1:
            raise self.damaged(at, "a name has half a character.")
        return self.data[at : at + length].decode("utf-16-le", "surrogatepass")

    def keep_items(self, raw: bytes) -> Items:
        # Most entries of a Linux tree share a handful of owners and modes; the rest is not worth keeping.
        items = parse_items(raw)
        if len(raw) == 24 and raw[:4] == TAG_UNIX_DATA.to_bytes(4, "little"):
            self.items[raw] = items
        return items

    def streams(self, at: int, count: int) -> tuple[list[bytes], tuple[tuple[str, bytes], ...], int]:
        """Read the extra stream entries; returns unnamed hashes in order, named ones sorted, the end."""
        unnamed: list[bytes] = []
        named: dict[str, bytes] = {}
        for _ in range(count):
            if at + STREAM_BYTES > len(self.data):
                raise self.damaged(at, "it ends inside a stream entry.")
            length, _, sha1, name_bytes = STREAM.unpack_from(self.data, at)
            end = at + ((length + 7) & ~7)
            if end > len(self.data) or at + STREAM_BYTES + name_bytes > end:
                raise self.damaged(at, f"a stream entry of {length} bytes cannot hold what it claims.")
            name = self.text(at + STREAM_BYTES, name_bytes)
            if not name:
                unnamed.append(sha1)
            elif name in named or "\0" in name:
                raise self.damaged(at, f"the stream name {name!r} is used twice or cannot be one.")
            else:
                named[name] = sha1
            at = end
        return unnamed, tuple(sorted(named.items())), at

    def number_links(self) -> None:
        # The data is part of the key: some writers reuse an id for different files, and libwim and DISM
        # then link only those with the same content.
        groups: dict[tuple[int, bytes], list[Node]] = {}
        for link, node in self.links:
            groups.setdefault((link, node.data), []).append(node)
        number = 0
        for nodes in groups.values():
            if len(nodes) > 1:
                number += 1
                for node in nodes:
                    node.link_group = number


def _assign(attributes: int, link: int, unnamed: list[bytes]) -> tuple[bytes, Reparse | None]:
    """Tell which unnamed stream is the data and which the reparse data: WIM does not say.

    The first one of a reparse point is its reparse data, the next one the file's data (a file that WOF
    compressed, for instance, has both). An encrypted file has one unnamed stream, its raw EFS data.
    """
    if attributes & ENCRYPTED:
        found = [sha1 for sha1 in unnamed if sha1 != NO_BLOB]
        raw = found[0] if found else NO_BLOB
        if attributes & REPARSE_POINT:
            return raw, Reparse(link & 0xFFFFFFFF, link >> 32, NO_BLOB)
        return raw, None
    if attributes & REPARSE_POINT:
        data = unnamed[1] if len(unnamed) > 1 else NO_BLOB
        return data, Reparse(link & 0xFFFFFFFF, link >> 32, unnamed[0] if unnamed else NO_BLOB)
    return (unnamed[0] if unnamed else NO_BLOB), None
