"""Turning around what comes newest first, in bounded memory: it lies in a temporary file meanwhile."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Reversal"]

_PIECE_BYTES = 1024 * 1024
_IN_MEMORY_BYTES = 8 * 1024 * 1024


class Reversal:
    """Takes lines, and gives them back last first. It is for ``with``, which lets go of the file.

    :param directory: for the file; without it, where the system has such files.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES, dir=None if directory is None else str(directory))  # noqa: SIM115 - see __exit__
        self._piece: list[bytes] = []
        self._piece_bytes = 0
        self._sizes: list[int] = []  # of the pieces in the file
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, line: bytes) -> None:
        """Take a line, without its end.

        :raises OSError: where the disk is full.
        """
        self._piece.append(line)
        self._piece_bytes += len(line) + 1
        self.count += 1
        if self._piece_bytes >= _PIECE_BYTES:
            self._file.seek(sum(self._sizes))
            self._file.write(b"\n".join(self._piece))
            self._sizes.append(self._piece_bytes - 1)
            self._piece.clear()
            self._piece_bytes = 0

    def lines(self) -> Iterator[bytes]:
        """The lines, the one that was added last first; nothing can be added any more.

        :raises OSError: where the disk cannot be read, or not be written before.
        """
        yield from reversed(self._piece)
        end = sum(self._sizes)
        for size in reversed(self._sizes):
            end -= size
            self._file.seek(end)
            yield from reversed(self._file.read(size).split(b"\n"))
