"""The metadata resource of a WIM image: its bytes to a tree and back.

Layout: a table of security descriptors, the root's directory entry, then one list of directory entries per
folder, each ended by eight zero bytes. An entry is 102 fixed bytes, its long and short names, tagged items,
and after it one extra entry per stream where one hash does not say it all.

Source: [MS-WIM] 2.6 and what libwim 1.13.6 reads and writes where that document is silent.
"""

from __future__ import annotations

import struct

from sekiso.errors import DamagedInputError, UnsupportedInputError
from sekiso.wim.names import collation_key
from sekiso.wim.tagged import NO_ITEMS, TAG_UNIX_DATA, Items, format_items, parse_items
from sekiso.wim.tree import DIRECTORY, ENCRYPTED, NO_BLOB, REPARSE_POINT, Node, Reparse

# length, attributes, security id, offset of the child list, two unused, three times, hash of the main
# stream, unknown, reparse point or link group, number of extra streams, bytes of short and long name
_ENTRY = struct.Struct("<QIiQ16xQQQ20s4xQHHH")
_STREAM = struct.Struct("<QQ20sH")  # length, reserved, hash, bytes of the name
_QWORD = struct.Struct("<Q")
_ENTRY_BYTES = 102
_STREAM_BYTES = 38
_SUBDIR_FIELD = 16  # where the offset of the child list lies in an entry
#: Deeper folders than any real file system has; keeps the paths of hostile trees short.
MAX_DEPTH = 4096
_MAX_NAME_BYTES = 0xFFFC


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
        todo = [(root.children, list_offset, 1)]
        while todo:
            children, offset, depth = todo.pop()
            if offset:
                if depth > MAX_DEPTH:
                    raise self.damaged(offset, f"folders are nested more than {MAX_DEPTH} deep.")
                todo += reversed([(c, o, depth + 1) for c, o in self.folder(children, offset)])
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

    def folder(self, children: dict[str, Node], offset: int) -> list[tuple[dict[str, Node], int]]:
        """Read one list of entries into `children`; returns the folders among them and their lists."""
        folders: list[tuple[dict[str, Node], int]] = []
        data, unpack, limit = self.data, _QWORD.unpack_from, len(self.data) - 8
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
                folders.append((node.children, list_offset))
            elif list_offset:
                raise self.damaged(offset, f"the file {name!r} has a list of entries.")
            offset = after

    def entry(self, offset: int) -> tuple[Node, int, int]:
        """Read one entry; returns it, the offset of its child list (0: none) and of the next entry."""
        data = self.data
        if offset + _ENTRY_BYTES > len(data):
            raise self.damaged(offset, "it ends inside a directory entry.")
        fields = _ENTRY.unpack_from(data, offset)
        length, attributes, _, list_offset, created, accessed, written, sha1, link = fields[:9]
        security: int = fields[2]
        streams, short_bytes, name_bytes = fields[9:]
        end = offset + ((length + 7) & ~7)
        at = offset + _ENTRY_BYTES
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
            if at + _STREAM_BYTES > len(self.data):
                raise self.damaged(at, "it ends inside a stream entry.")
            length, _, sha1, name_bytes = _STREAM.unpack_from(self.data, at)
            end = at + ((length + 7) & ~7)
            if end > len(self.data) or at + _STREAM_BYTES + name_bytes > end:
                raise self.damaged(at, f"a stream entry of {length} bytes cannot hold what it claims.")
            name = self.text(at + _STREAM_BYTES, name_bytes)
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


def serialize_metadata(root: Node) -> bytes:
    """Return the metadata resource of a tree; the same tree always gives the same bytes.

    Entries are sorted as NTFS does, security descriptors and link groups are numbered in the order of
    their first use. The attributes that say folder and reparse point follow the node's own fields. Link
    groups of folders and reparse points are left out: WIM has no place for them.

    Raises:
        UnsupportedInputError: a name or attribute is one that WIM cannot keep.
        ValueError: a folder lists an entry under another name than the entry's own.
    """
    return _Writer(root).resource()


class _Writer:
    def __init__(self, root: Node) -> None:
        self.root = root
        self.security: dict[bytes, int] = {}
        self.groups = _linked(root)
        self.numbers: dict[tuple[int, bytes], int] = {}
        self.out: list[bytes] = []
        self.at = 0  # bytes in `out`
        self.patches: list[tuple[int, int]] = []  # (where an entry's list offset lies, the offset)

    def resource(self) -> bytes:
        """Emit the root, then every folder's list, a folder's own before those of the folders in it."""
        self.emit(self.root)
        self.end_list()
        todo = [(_SUBDIR_FIELD, self.root)]
        while todo:
            field, folder = todo.pop()
            if folder.reparse is not None and not folder.children:
                continue  # libwim takes no list of a junction, not even an empty one
            self.patches.append((field, self.at))
            folders: list[tuple[int, Node]] = []
            for name, kid in _sorted(folder):
                if kid.children is not None:
                    folders.append((self.at + _SUBDIR_FIELD, kid))
                _check_name(name, kid)
                self.emit(kid)
            self.end_list()
            todo += reversed(folders)
        table = self.security_table()
        whole = bytearray(b"".join([table, *self.out]))
        for field, offset in self.patches:
            _QWORD.pack_into(whole, len(table) + field, len(table) + offset)
        return bytes(whole)

    def end_list(self) -> None:
        self.out.append(bytes(8))
        self.at += 8

    def emit(self, node: Node) -> None:
        name = node.name.encode("utf-16-le", "surrogatepass")
        short = node.short_name.encode("utf-16-le", "surrogatepass")
        names = (name + b"\0\0" if name else b"") + (short + b"\0\0" if short else b"")
        names += bytes(-(_ENTRY_BYTES + len(names)) % 8)
        if node.unix is not None or node.xattrs or node.object_id is not None or node.extra:
            names += format_items(node)
        attributes, link, sha1, streams = self.variable_part(node)
        security = -1
        if node.security:
            security = self.security.setdefault(node.security, len(self.security))
        fixed = _ENTRY.pack(
            _ENTRY_BYTES + len(names),
            attributes,
            security,
            0,
            node.creation_time,
            node.access_time,
            node.write_time,
            sha1,
            link,
            len(streams),
            len(short),
            len(name),
        )
        raw = b"".join([fixed, names, *streams]) if streams else fixed + names
        self.out.append(raw)
        self.at += len(raw)

    def variable_part(self, node: Node) -> tuple[int, int, bytes, list[bytes]]:
        """Return the attributes, the link or reparse field, the main hash and the stream entries.

        Source: libwim 1.13.6, which follows DISM here: one unnamed stream goes into the entry itself;
        as soon as there are two, or named ones, all go into stream entries, the reparse data first.
        """
        attributes = node.attributes & ~(DIRECTORY | REPARSE_POINT)
        unnamed: list[bytes] = []
        if node.children is None:
            unnamed.append(node.data)
            link = self.link_number(node) if node.link_group and node.reparse is None else 0
        else:
            attributes |= DIRECTORY
            link = 0
        if node.reparse is not None:
            attributes |= REPARSE_POINT
            link = node.reparse.tag | node.reparse.flags << 32
            unnamed.insert(0, node.reparse.data)
        if attributes & ENCRYPTED:
            return attributes, link, node.data, []
        if not node.named_streams and len(unnamed) <= 1:
            return attributes, link, unnamed[0] if unnamed else NO_BLOB, []
        entries = [_stream("", sha1) for sha1 in unnamed]
        entries += [_stream(name, sha1) for name, sha1 in sorted(node.named_streams)]
        return attributes, link, NO_BLOB, entries

    def link_number(self, node: Node) -> int:
        key = (node.link_group, node.data)
        return self.numbers.setdefault(key, len(self.numbers) + 1) if key in self.groups else 0

    def security_table(self) -> bytes:
        body = struct.pack(f"<{len(self.security)}Q", *map(len, self.security)) + b"".join(self.security)
        total = (8 + len(body) + 7) & ~7
        return struct.pack("<II", total, len(self.security)) + body + bytes(total - 8 - len(body))


def _sorted(folder: Node) -> list[tuple[str, Node]]:
    return sorted((folder.children or {}).items(), key=lambda item: collation_key(item[0]))


def _linked(root: Node) -> set[tuple[int, bytes]]:
    """Return the link groups (with their data, see `_Parser.number_links`) that have two names or more."""
    once: set[tuple[int, bytes]] = set()
    twice: set[tuple[int, bytes]] = set()
    todo = [root]
    while todo:
        for kid in (todo.pop().children or {}).values():
            if kid.children is not None:
                todo.append(kid)
            elif kid.link_group and kid.reparse is None:
                key = (kid.link_group, kid.data)
                (twice if key in once else once).add(key)
    return twice


def _stream(name: str, sha1: bytes) -> bytes:
    raw = name.encode("utf-16-le", "surrogatepass")
    if len(raw) > _MAX_NAME_BYTES:
        raise UnsupportedInputError(
            path=name,
            reason="The name of a data stream is too long for a WIM file.",
            remedy="Shorten the name.",
        )
    tail = raw + b"\0\0" if raw else b""
    length = (_STREAM_BYTES + len(tail) + 7) & ~7
    return _STREAM.pack(length, 0, sha1, len(raw)) + tail + bytes(length - _STREAM_BYTES - len(tail))


def _check_name(key: str, node: Node) -> None:
    name = node.name
    if key != name:
        raise ValueError(f"the entry {name!r} is listed as {key!r}")
    if name in ("", ".", "..") or "/" in name or "\0" in name or len(name) > _MAX_NAME_BYTES // 4:
        raise UnsupportedInputError(
            path=name,
            reason="A WIM file cannot keep this file name.",
            remedy="Rename the file to a name without / and NUL that is not . or .. and not overlong.",
        )
