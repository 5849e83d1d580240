"""Numbers and pieces out of bytes, for targets whose inputs are not text."""

__all__ = ["Cutter"]


class Cutter:
    """Cuts bytes from the front; past their end there are zeros, and pieces are short."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def __bool__(self) -> bool:
        return self._position < len(self._data)

    def piece(self, size: int) -> bytes:
        """The next bytes, as many as there are."""
        found = self._data[self._position : self._position + size]
        self._position += size
        return found

    def number(self, size: int = 1, *, signed: bool = False) -> int:
        """The next bytes as a number."""
        return int.from_bytes(self.piece(size).ljust(size, b"\0"), "big", signed=signed)

    def rest(self) -> bytes:
        """All that is left."""
        return self.piece(len(self._data))
