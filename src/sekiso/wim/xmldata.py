"""The XML data of a WIM file: names and properties of its images."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from sekiso.errors import DamagedInputError, UnsupportedInputError

#: Longest XML data that is read; layers keep their manifest in it.
MAX_XML_BYTES = 64 << 20
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_PIECES = {"\r": "&#13;"}


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What the XML data says of one image.

    Attributes:
        name: its name.
        properties: every value by path (`SEKISO/MANIFEST`); a repeated element by `NAME[2]` and so on.
    """

    name: str
    properties: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class ImageStatistics:
    """The numbers that the XML data gives for one image.

    Attributes:
        dir_count: folders, the root included, reparse points not (as libwim counts).
        file_count: all other names.
        total_bytes: length of all streams, counted once per name.
        hardlink_bytes: what of it belongs to second and further names.
        filetime: time of creation and of the last change (100 ns since 1601).
    """

    dir_count: int
    file_count: int
    total_bytes: int
    hardlink_bytes: int
    filetime: int


def parse_xml(raw: bytes, *, image_count: int, source: str, offset: int) -> tuple[ImageInfo, ...]:
    """Read the XML data.

    Args:
        raw: UTF-16 text with a byte order mark.
        image_count: how many images the file has; images that the XML does not name get no properties.
        source: what error messages call the file.
        offset: where the XML data lies in it.

    Raises:
        DamagedInputError: it is not the XML of a WIM file.
        UnsupportedInputError: the file is encrypted.
    """
    if not raw:
        return tuple(ImageInfo("") for _ in range(image_count))
    try:
        text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-16-le")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise DamagedInputError(path=source, offset=offset, reason="Its XML data declares entities.")
        root = ElementTree.fromstring(text.rstrip("\0"))  # noqa: S314 (entities were refused above)
    except (UnicodeError, ElementTree.ParseError, ValueError) as exc:
        raise DamagedInputError(
            path=source, offset=offset, reason=f"Its XML data cannot be read: {exc}."
        ) from exc
    if root.tag == "ESD":
        raise UnsupportedInputError(
            path=source,
            reason="It is an encrypted ESD file.",
            remedy="Decrypt it with the tool that downloaded it, or use a WIM file.",
        )
    if root.tag != "WIM":
        raise DamagedInputError(path=source, offset=offset, reason="Its XML data is not that of a WIM file.")
    return _images(root, image_count)


def _images(root: ElementTree.Element, image_count: int) -> tuple[ImageInfo, ...]:
    found: dict[int, ImageInfo] = {}
    for position, element in enumerate(root.findall("IMAGE"), 1):
        index = element.get("INDEX", "")
        number = int(index) if index.isascii() and index.isdecimal() and len(index) < 8 else position
        values = _flatten(element)
        found.setdefault(number, ImageInfo(values.get("NAME", ""), values))
    return tuple(found.get(n, ImageInfo("")) for n in range(1, image_count + 1))


def _flatten(image: ElementTree.Element) -> dict[str, str]:
    values: dict[str, str] = {}
    todo = [("", image)]
    while todo:
        prefix, element = todo.pop()
        if len(prefix) > 1024:
            continue  # no property of anyone's lies that deep; keeps the paths of hostile XML short
        seen: dict[str, int] = {}
        for kid in element:
            seen[kid.tag] = number = seen.get(kid.tag, 0) + 1
            path = f"{prefix}{kid.tag}" + (f"[{number}]" if number > 1 else "")
            if len(kid):
                todo.append((f"{path}/", kid))
            else:
                values[path] = kid.text or ""
    return values


def format_xml(
    images: Sequence[tuple[ImageInfo, ImageStatistics]],
    *,
    total_bytes: int,
) -> bytes:
    """Return the XML data of a WIM file as it is stored: UTF-16 with a byte order mark.

    Args:
        images: name and properties of each image, and its numbers. Properties named like the numbers
            (`DIRCOUNT` …) and `NAME` are left out: they follow from the other arguments.
        total_bytes: length of the file without the XML data.

    Raises:
        ValueError: a property has a name or a value that XML cannot carry.
    """
    parts = [f"<WIM><TOTALBYTES>{total_bytes}</TOTALBYTES>"]
    parts += [_image(number, info, stats) for number, (info, stats) in enumerate(images, 1)]
    return ("\ufeff" + "".join([*parts, "</WIM>"])).encode("utf-16-le")


_OWN = (
    "DIRCOUNT",
    "FILECOUNT",
    "TOTALBYTES",
    "HARDLINKBYTES",
    "CREATIONTIME",
    "LASTMODIFICATIONTIME",
    "NAME",
)


def _image(number: int, info: ImageInfo, stats: ImageStatistics) -> str:
    high, low = stats.filetime >> 32, stats.filetime & 0xFFFFFFFF
    time = f"<HIGHPART>0x{high:08X}</HIGHPART><LOWPART>0x{low:08X}</LOWPART>"
    values = {p: v for p, v in info.properties.items() if p.split("/", 1)[0] not in _OWN}
    return (
        f'<IMAGE INDEX="{number}"><DIRCOUNT>{stats.dir_count}</DIRCOUNT>'
        f"<FILECOUNT>{stats.file_count}</FILECOUNT>"
        f"<TOTALBYTES>{stats.total_bytes}</TOTALBYTES><HARDLINKBYTES>{stats.hardlink_bytes}</HARDLINKBYTES>"
        f"<CREATIONTIME>{time}</CREATIONTIME><LASTMODIFICATIONTIME>{time}</LASTMODIFICATIONTIME>"
        f"<NAME>{_text(info.name)}</NAME>{_elements(values)}</IMAGE>"
    )


def _elements(values: Mapping[str, str]) -> str:
    """Return nested elements for values given by path; equal first parts share one element."""
    groups: dict[str, dict[str, str]] = {}
    for path, value in sorted(values.items()):
        first, _, rest = path.partition("/")
        groups.setdefault(first, {})[rest] = value
    out: list[str] = []
    for first, group in groups.items():
        tag = first.partition("[")[0]
        if not _NAME.fullmatch(tag) or ("" in group and len(group) > 1):
            raise ValueError(f"{first!r} cannot be the name of a property")
        inner = _text(group[""]) if "" in group else _elements(group)
        out.append(f"<{tag}>{inner}</{tag}>")
    return "".join(out)


def _text(value: str) -> str:
    bad = _FORBIDDEN.search(value)
    if bad:
        raise ValueError(f"XML cannot carry the character {bad[0]!r}")
    return escape(value, _PIECES)
