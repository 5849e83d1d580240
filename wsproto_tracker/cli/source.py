"""Where events are read from: a file or stdin, plain or gzip, line by line, with bounded memory."""

import os
import stat
import sys
import zlib
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import attrs
import trio

from wsproto_tracker.cli.output import harmless
from wsproto_tracker.errors import ConfigurationError

__all__ = ["MAX_LINE_BYTES", "Gunzip", "Line", "Source", "Splitter", "Unreadable", "open_source"]

MAX_LINE_BYTES = 32 * 1024 * 1024
"""An event of 4 MiB, the largest that every server takes (LIMIT-1), with all of it escaped, and room to spare."""

_CHUNK_BYTES = 256 * 1024
_INFLATED_BYTES = 1024 * 1024  # at a time, whatever a small file says that it holds
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WBITS = 16 + zlib.MAX_WBITS
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_STDIN = 0


class Unreadable(Exception):  # noqa: N818 - the word that the messages use
    """What is to be read cannot be, from here on; the message says why."""


@attrs.frozen
class Line:
    """One line, without its end.

    :ivar number: from 1.
    :ivar text: ``None`` where it is longer than ``MAX_LINE_BYTES``.
    """

    number: int
    text: bytes | None

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing on it."""
        return self.text is not None and not self.text.strip()


class Splitter:
    """Parts text into lines, as it comes."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []  # of the line that has not ended
        self._bytes = 0
        self._number = 0

    def feed(self, data: bytes) -> Iterator[Line]:
        """The lines that end in it."""
        *whole, rest = data.split(b"\n")
        for piece in whole:
            self._keep(piece)
            yield self._line()
        self._keep(rest)

    def end(self) -> Iterator[Line]:
        """The last line, where it has no end of its own."""
        if self._bytes:
            yield self._line()

    def _keep(self, piece: bytes) -> None:
        self._bytes += len(piece)
        if self._bytes > MAX_LINE_BYTES:
            self._parts.clear()
        elif piece:
            self._parts.append(piece)

    def _line(self) -> Line:
        text = None if self._bytes > MAX_LINE_BYTES else b"".join(self._parts)
        self._parts, self._bytes = [], 0
        self._number += 1
        if self._number == 1 and text is not None:
            text = text.removeprefix(_BYTE_ORDER_MARK)
        return Line(self._number, text)


class Gunzip:
    """Inflates gzip, of one member or several (RFC 1952), as it comes."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(_GZIP_WBITS)
        self._is_within = True  # a member that has not ended; an empty file is none

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What is in it, in pieces.

        :raises Unreadable: where it is damaged.
        """
        while data:
            if not self._is_within:
                data = data.lstrip(b"\0")  # padding, which tapes and some tools leave
                if not data:
                    return
                self._inflater, self._is_within = zlib.decompressobj(_GZIP_WBITS), True
            try:
                yield self._inflater.decompress(data, _INFLATED_BYTES)
            except zlib.error:
                raise Unreadable("the gzip in it is damaged; what comes before that was read") from None
            data = self._inflater.unused_data if self._inflater.eof else self._inflater.unconsumed_tail
            self._is_within = not self._inflater.eof

    def end(self) -> None:
        """See whether it was all.

        :raises Unreadable: where something is missing.
        """
        if self._is_within:
            raise Unreadable("the gzip in it ends too early: it was cut off; what there is was read")


@attrs.define
class Source:
    """What is read; ``open_source`` opens it.

    :ivar name: for messages.
    :ivar size_bytes: of the file; ``None`` where nobody knows how much comes.
    :ivar read_bytes: how much of it was read.
    """

    name: str
    size_bytes: int | None
    is_gzip: bool
    _fd: int
    read_bytes: int = 0

    @property
    def is_typed(self) -> bool:
        """Whether somebody types it."""
        return os.isatty(self._fd)

    async def lines(self) -> AsyncGenerator[list[Line], None]:
        """The lines, as many at a time as come at a time.

        :raises Unreadable: where they cannot be read.
        """
        splitter = Splitter()
        data = await self._read()
        is_gzip = data.startswith(_GZIP_MAGIC)
        if self.is_gzip and not is_gzip:
            is_what = "is no gzip" if data else "is empty, which is no gzip"
            raise Unreadable(f"{is_what}; if it is plain JSON lines, name it without .gz")
        gunzip = Gunzip() if is_gzip else None
        while data:
            for text in (data,) if gunzip is None else gunzip.feed(data):
                yield list(splitter.feed(text))
            data = await self._read()
        if gunzip is None:
            yield list(splitter.end())
        else:
            gunzip.end()  # if it was cut off, so was the last line
            yield list(splitter.end())

    async def _read(self) -> bytes:
        # In a thread, for pipes and slow disks block; by os.read, for one that is left behind in a buffered reader
        # would hold its lock when the interpreter ends.
        while True:
            try:
                data = await trio.to_thread.run_sync(os.read, self._fd, _CHUNK_BYTES, abandon_on_cancel=True)
            except BlockingIOError:  # another program has made a shared terminal or pipe so
                await trio.lowlevel.wait_readable(self._fd)
                continue
            except OSError as error:
                raise Unreadable(f"cannot be read: {(error.strerror or str(error)).lower()}") from None
            self.read_bytes += len(data)
            return data


def open_source(given: str | None) -> Source:
    """Open a file, or stdin for ``-`` and ``None``.

    :raises ConfigurationError: where there is no such file, or it is none.
    """
    if given is None or given == "-":
        if sys.stdin is None:  # then something else may have its number
            raise ConfigurationError("FILE: stdin is closed; expected a file of JSON lines, or something piped in")
        return Source("stdin", None, False, _STDIN)
    name = harmless(given)
    try:
        fd = os.open(given, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        about = os.fstat(fd)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigurationError(f"FILE: {name}: {reason}; expected a file of JSON lines, or - for stdin") from None
    if stat.S_ISDIR(about.st_mode):
        os.close(fd)
        raise ConfigurationError(f"FILE: {name}: is a directory; expected a file of JSON lines, or - for stdin")
    size = about.st_size if stat.S_ISREG(about.st_mode) else None
    return Source(given, size, Path(given).suffix.lower() == ".gz", fd)
