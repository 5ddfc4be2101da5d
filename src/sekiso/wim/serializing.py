"""A tree to WIM metadata; see `sekiso.wim.metadata`."""

from __future__ import annotations

import struct

from sekiso.errors import UnsupportedInputError
from sekiso.wim.entry import ENTRY, ENTRY_BYTES, LIST_FIELD, QWORD, STREAM, STREAM_BYTES
from sekiso.wim.names import collation_key
from sekiso.wim.tagged import format_items
from sekiso.wim.tree import DIRECTORY, ENCRYPTED, NO_BLOB, REPARSE_POINT, Node

_MAX_NAME_BYTES = 0xFFFC


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
        todo = [(LIST_FIELD, self.root)]
        while todo:
            field, folder = todo.pop()
            if folder.reparse is not None and not folder.children:
                continue  # libwim takes no list of a junction, not even an empty one
            self.patches.append((field, self.at))
            folders: list[tuple[int, Node]] = []
            for name, kid in _sorted(folder):
                if kid.children is not None:
                    folders.append((self.at + LIST_FIELD, kid))
                _check_name(name, kid)
                self.emit(kid)
            self.end_list()
            todo += reversed(folders)
        table = self.security_table()
        whole = bytearray(b"".join([table, *self.out]))
        for field, offset in self.patches:
            QWORD.pack_into(whole, len(table) + field, len(table) + offset)
        return bytes(whole)

    def end_list(self) -> None:
        self.out.append(bytes(8))
        self.at += 8

    def emit(self, node: Node) -> None:
        name = node.name.encode("utf-16-le", "surrogatepass")
        short = node.short_name.encode("utf-16-le", "surrogatepass")
        names = (name + b"\0\0" if name else b"") + (short + b"\0\0" if short else b"")
        names += bytes(-(ENTRY_BYTES + len(names)) % 8)
        if node.unix is not None or node.xattrs or node.object_id is not None or node.extra:
            names += format_items(node)
        attributes, link, sha1, streams = self.variable_part(node)
        security = -1
        if node.security:
            security = self.security.setdefault(node.security, len(self.security))
        fixed = ENTRY.pack(
            ENTRY_BYTES + len(names),
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
    length = (STREAM_BYTES + len(tail) + 7) & ~7
    return STREAM.pack(length, 0, sha1, len(raw)) + tail + bytes(length - STREAM_BYTES - len(tail))


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
