"""The libwim worker: `python -m sekiso.wim.worker`. Nothing else in Sekiso loads libwim.

Protocol: one JSON object per line on standard input asks for an operation; on standard output come
`{"step", "total"}` and `{"done"}` for progress, `{"data": n}` followed by n raw bytes, and at last
`{"result"}` or `{"error": {"code", "params"}}`. libwim's own messages go to standard error. The process
ends when its standard input does, even in the middle of an operation.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import queue
import resource
import struct
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sekiso.errors import (
    DamagedInputError,
    NotFoundError,
    SekisoError,
    ToolFailedError,
    UnsupportedInputError,
)
from sekiso.wim import binding as lib

_PIECE_BYTES = 1 << 20
_PROGRESS_EVERY_S = 0.1
_TABLE_ENTRIES = 1 << 16
_OPEN_FILES = 65536
_KEPT_BYTES = 256 << 20
# Address space: a reader of foreign files needs little, LZMS with 64 MiB chunks on several threads a lot.
_READ_LIMIT_BYTES = 4 << 30
_WRITE_LIMIT_BYTES = 24 << 30

# What libwim's error numbers mean to a person; everything else is a failed tool.
_DAMAGED = {2, 10, 13, 15, 16, 17, 18, 19, 20, 21, 25, 26, 27, 28, 36, 43, 65, 73, 90}
_UNSUPPORTED = {33, 67, 74}
_NOT_FOUND = {55}
_NO_MEMORY = 39


class Output:
    """Standard output as the protocol uses it."""

    def __init__(self) -> None:
        self._fd = os.dup(1)
        os.dup2(2, 1)  # whatever a library prints must not get between the messages

    def send(self, message: Mapping[str, Any], data: bytes | memoryview = b"") -> None:
        """Write one message, and the raw bytes it announces."""
        rest = memoryview(json.dumps(message).encode() + b"\n" + bytes(data))
        while rest:
            rest = rest[os.write(self._fd, rest) :]


@dataclass(frozen=True, slots=True)
class _Chunk:
    """One compressed chunk: its file, where it starts, its stored and its real length."""

    path: str
    start: int
    stored: int
    size: int
    keep: bool


class Operations:
    """What the worker can do: each method is one operation."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self.library = lib.load()
        self._kept: tuple[_Chunk | None, Any] = (None, b"")
        self._step = ""
        self._sent_at = 0.0
        self._callback = lib.ProgressFunction(self._progress)  # kept: libwim holds only a pointer

    def version(self) -> dict[str, Any]:
        """Return libwim's version."""
        number = self.library.wimlib_get_version()
        return {"version": f"{number >> 20}.{number >> 10 & 0x3FF}.{number & 0x3FF}"}

    def apply(
        self, wim: str, references: Sequence[str], target: str, *, image: int, ntfs: bool
    ) -> dict[str, Any]:
        """Extract an image to an NTFS volume or a folder."""
        _limit(_READ_LIMIT_BYTES)
        flags = lib.EXTRACT_NORPFIX | lib.EXTRACT_STRICT_ACLS | lib.EXTRACT_STRICT_TIMESTAMPS
        if ntfs:
            flags |= lib.EXTRACT_NTFS | lib.EXTRACT_STRICT_SHORT_NAMES
        else:
            flags |= lib.EXTRACT_UNIX_DATA | lib.EXTRACT_STRICT_SYMLINKS
        with self._open(wim, references) as handle:
            self._check(self.library.wimlib_extract_image(handle, image, os.fsencode(target), flags), wim)
        return self.version()

    def capture(self, source: str, out: str, *, name: str, ntfs: bool, compression: str) -> dict[str, Any]:
        """Capture an NTFS volume or a folder into a new WIM file."""
        _limit(_WRITE_LIMIT_BYTES)
        number = lib.COMPRESSION_NUMBERS[compression]
        flags = lib.ADD_NORPFIX | (lib.ADD_NTFS if ntfs else lib.ADD_UNIX_DATA)
        handle = lib.Handle()
        self._check(self.library.wimlib_create_new_wim(number, ctypes.byref(handle)), out)
        with self._registered(handle):
            raw = os.fsencode(source)
            self._check(self.library.wimlib_add_image(handle, raw, name.encode(), None, flags), source)
            self._write(handle, out, compression, lib.WRITE_FSYNC)
        return self.version()

    def export(
        self, wim: str, references: Sequence[str], out: str, *, compression: str, recompress: bool
    ) -> dict[str, Any]:
        """Write all images and all blobs again, compressed otherwise."""
        _limit(_WRITE_LIMIT_BYTES)
        number = lib.COMPRESSION_NUMBERS[compression]
        with self._open(wim, references) as handle:
            self._check(self.library.wimlib_set_output_compression_type(handle, number), wim)
            # Blobs that no image names are wanted too, but not those that only the references have.
            flags = lib.WRITE_FSYNC | (0 if references else lib.WRITE_STREAMS_OK)
            flags |= lib.WRITE_RECOMPRESS if recompress else 0
            self._write(handle, out, compression, flags)
        return self.version()

    def _write(self, handle: lib.Handle, out: str, compression: str, flags: int) -> None:
        if compression == "lzx20":
            number = lib.COMPRESSION_NUMBERS[compression]
            self._check(self.library.wimlib_set_default_compression_level(number, lib.LZX_FAST_LEVEL), out)
        if compression == "solid":
            flags |= lib.WRITE_SOLID
        self._check(self.library.wimlib_write(handle, os.fsencode(out), lib.ALL_IMAGES, flags, 0), out)

    def verify(self, wim: str, references: Sequence[str]) -> dict[str, Any]:
        """Check every hash of every image and blob."""
        _limit(_READ_LIMIT_BYTES)
        with self._open(wim, references) as handle:
            self._check(self.library.wimlib_verify_wim(handle, 0), wim)
        return self.version()

    def decompress(
        self,
        path: str,
        *,
        offset: int,
        stored_bytes: int,
        size_bytes: int,
        compression: str,
        chunk_bytes: int,
        solid_bytes: int,
        solid_offset: int,
    ) -> dict[str, Any]:
        """Send a compressed resource, or the part of a solid one that is asked for."""
        _limit(_READ_LIMIT_BYTES)
        total = solid_bytes or size_bytes
        skip = solid_offset if solid_bytes else 0
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            where = (path, offset, stored_bytes)
            chunks = _chunk_table(fd, where, total, chunk_bytes, solid=bool(solid_bytes))
            with self._decompressor(compression, chunk_bytes, path, offset) as decompressor:
                for number, (start, stored) in enumerate(chunks):
                    first = number * chunk_bytes
                    size = min(chunk_bytes, total - first)
                    if first >= skip + size_bytes:
                        break
                    if first + size > skip:
                        chunk = _Chunk(path, start, stored, size, keep=bool(solid_bytes))
                        whole = self._chunk(fd, chunk, decompressor)
                        self._send(memoryview(whole)[max(0, skip - first) : skip + size_bytes - first])
        finally:
            os.close(fd)
        return {}

    @contextlib.contextmanager
    def _decompressor(
        self, compression: str, chunk_bytes: int, path: str, offset: int
    ) -> Generator[Any, None, None]:
        number = lib.COMPRESSION_NUMBERS[compression]
        handle = ctypes.c_void_p()
        if self.library.wimlib_create_decompressor(number, chunk_bytes, ctypes.byref(handle)):
            raise _damaged(path, offset, f"{compression} has no chunks of {chunk_bytes} bytes.")
        try:
            yield handle
        finally:
            self.library.wimlib_free_decompressor(handle)

    def _send(self, data: memoryview) -> None:
        for at in range(0, len(data), _PIECE_BYTES):
            piece = data[at : at + _PIECE_BYTES]
            self.output.send({"data": len(piece)}, piece)

    def _chunk(self, fd: int, chunk: _Chunk, decompressor: Any) -> Any:
        """Return a chunk, decompressed; the last one of a solid resource is kept for the next blob in it."""
        if self._kept[0] == chunk:
            return self._kept[1]
        raw = os.pread(fd, chunk.stored, chunk.start) if 0 < chunk.stored <= chunk.size else b""
        if len(raw) != chunk.stored or not raw:
            raise _damaged(chunk.path, chunk.start, "A compressed chunk has a length that it cannot have.")
        if chunk.stored == chunk.size:
            return raw
        self._kept = (None, b"")
        out = ctypes.create_string_buffer(chunk.size)
        if self.library.wimlib_decompress(raw, len(raw), out, chunk.size, decompressor):
            raise _damaged(chunk.path, chunk.start, "A compressed chunk cannot be decompressed.")
        if chunk.keep and chunk.size <= _KEPT_BYTES:
            self._kept = (chunk, out)
        return out

    @contextlib.contextmanager
    def _open(self, wim: str, references: Sequence[str]) -> Generator[lib.Handle, None, None]:
        handle = lib.Handle()
        flags = lib.OPEN_ERROR_IF_SPLIT
        self._check(self.library.wimlib_open_wim(os.fsencode(wim), flags, ctypes.byref(handle)), wim)
        with self._registered(handle):
            if references:
                names = (ctypes.c_char_p * len(references))(*map(os.fsencode, references))
                code = self.library.wimlib_reference_resource_files(handle, names, len(names), 0, flags)
                self._check(code, references[0])
            yield handle

    @contextlib.contextmanager
    def _registered(self, handle: lib.Handle) -> Generator[None, None, None]:
        self._step = ""
        self.library.wimlib_register_progress_function(handle, self._callback, None)
        try:
            yield
        finally:
            self.library.wimlib_free(handle)

    def _check(self, code: int, path: str) -> None:
        """Turn an error number of libwim into an exception."""
        if not code:
            return
        text = self.library.wimlib_get_error_string(code).decode(errors="replace")
        reason = f"libwim says: {text} (error {code})."
        if code in _DAMAGED:
            raise _damaged(path, 0, reason)
        if code in _UNSUPPORTED:
            remedy = "Convert it to a plain WIM file first."
            raise UnsupportedInputError(path=path, reason=reason, remedy=remedy)
        if code in _NOT_FOUND:
            remedy = "Name every WIM file that holds content of it."
            raise NotFoundError(what="Content of", name=path, remedy=remedy)
        raise ToolFailedError(status=code, reason=f"{path}: {reason}")

    def _progress(self, kind: int, info: int | None, _: int | None) -> int:
        """Pass libwim's progress on, ten times a second at most."""
        if info is None:
            return 0
        if kind == lib.MESSAGE_EXTRACT_FILE_STRUCTURE:
            extract = lib.ExtractInfo.from_address(info)
            self._tell("create", extract.current_file_count, extract.end_file_count)
        elif kind == lib.MESSAGE_EXTRACT_STREAMS:
            extract = lib.ExtractInfo.from_address(info)
            self._tell("extract", extract.completed_bytes, extract.total_bytes)
        elif kind == lib.MESSAGE_WRITE_STREAMS:
            write = lib.WriteInfo.from_address(info)
            self._tell("write", write.completed_bytes, write.total_bytes)
        elif kind == lib.MESSAGE_VERIFY_STREAMS:
            verify = lib.VerifyInfo.from_address(info)
            self._tell("verify", verify.completed_bytes, verify.total_bytes)
        elif kind in (lib.MESSAGE_SCAN_BEGIN, lib.MESSAGE_SCAN_DENTRY):
            self._tell("scan", 0, None)
        return 0

    def _tell(self, step: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if step != self._step:
            self._step = step
            self.output.send({"step": step, "total": total})
        elif now - self._sent_at < _PROGRESS_EVERY_S and done != total:
            return
        self._sent_at = now
        self.output.send({"done": done})


def _chunk_table(
    fd: int, where: tuple[str, int, int], total: int, chunk_bytes: int, *, solid: bool
) -> Iterator[tuple[int, int]]:
    """Yield where each chunk starts in the file and its stored length.

    An ordinary resource begins with the offset of every chunk but the first, a solid one with a header
    of 16 bytes and the length of every chunk. Source: [MS-WIM] 2.3 and libwim 1.13.6 for solid resources.
    """
    path, offset, stored_bytes = where
    count = -(-total // chunk_bytes)
    code = "Q" if not solid and total >= 1 << 32 else "I"
    entries = count if solid else count - 1
    table = offset + (16 if solid else 0)
    start = data = table + entries * struct.calcsize(code)
    end = offset + stored_bytes
    values = _table_values(fd, table, entries, code)
    for number in range(count):
        after = end
        if number < entries:
            after = next(values, 0) + (start if solid else data)
        if not start <= after <= end:
            raise _damaged(path, start, "The chunk table points outside its resource.")
        yield start, after - start
        start = after


def _table_values(fd: int, offset: int, count: int, code: str) -> Iterator[int]:
    """Yield the numbers of a chunk table, read in small portions: a hostile file may claim a huge one."""
    width = struct.calcsize(code)
    while count > 0:
        raw = os.pread(fd, min(count, _TABLE_ENTRIES) * width, offset)
        found = len(raw) // width
        if not found:
            return
        yield from struct.unpack_from(f"<{found}{code}", raw)
        offset += found * width
        count -= found


def _damaged(path: str, offset: int, reason: str) -> DamagedInputError:
    return DamagedInputError(path=path, offset=offset, reason=reason)


def _limit(address_space_bytes: int) -> None:
    """Bound the memory of this process: a foreign file must not take the machine down."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        address_space_bytes = min(address_space_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (address_space_bytes, hard))


def _requests() -> Iterator[bytes]:
    """Yield the lines of standard input; when it ends the whole process does, whatever it is doing."""
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin.buffer:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield lines.get()


def _serve(output: Output, line: bytes, operations: Callable[[], Operations]) -> None:
    try:
        request = json.loads(line)
        arguments: dict[str, Any] = request["arguments"]
        output.send({"result": getattr(operations(), request["operation"])(**arguments)})
    except SekisoError as exc:
        output.send({"error": exc.to_dict()})
    except MemoryError:
        reason = f"More than {_gigabytes()} GB of memory would be needed."
        output.send({"error": ToolFailedError(status=_NO_MEMORY, reason=reason).to_dict()})
    except OSError as exc:
        reason = f"{exc.filename or ''} {exc.strerror or exc}".strip()
        output.send({"error": ToolFailedError(status=exc.errno or 1, reason=reason).to_dict()})


def _gigabytes() -> int:
    return resource.getrlimit(resource.RLIMIT_AS)[0] >> 30


def main() -> None:
    """Serve requests until standard input ends."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, _OPEN_FILES), most))
    output = Output()
    loaded: list[Operations] = []

    def operations() -> Operations:
        if not loaded:
            loaded.append(Operations(output))
        return loaded[0]

    for line in _requests():
        _serve(output, line, operations)


if __name__ == "__main__":
    main()
