"""The checksum of two texts in a row, from their checksums: ``crc32_combine`` of zlib (RFC 1952, section 8)."""

from typing import TYPE_CHECKING

__all__ = ["combine_crc32"]

_POLYNOMIAL = 0xEDB88320  # bits reflected: the highest is x^0


def _multiply(first: int, second: int) -> int:
    """The product of two polynomials over GF(2), modulo that of the checksum."""
    product = 0
    for bit in range(31, -1, -1):
        if first >> bit & 1:
            product ^= second
        second = second >> 1 ^ (_POLYNOMIAL if second & 1 else 0)
    return product


def _powers() -> list[int]:
    """X to the power of 8 * 2^n, for each n of a length of up to 64 bits."""
    power = 1 << 30  # x^1
    powers = []
    for exponent in range(3 + 64):
        if exponent >= 3:
            powers.append(power)
        power = _multiply(power, power)
    return powers


_POWERS = _powers()


def _combine(first: int, second: int, second_bytes: int) -> int:
    """The checksum of a text that begins with one of the first checksum, and ends with one of the second.

    :param second_bytes: the length of the latter.
    """
    shift = 1 << 31  # x^0
    for number, power in enumerate(_POWERS):
        if second_bytes >> number & 1:
            shift = _multiply(power, shift)
    return _multiply(shift, first) ^ second


if TYPE_CHECKING:
    combine_crc32 = _combine
else:
    try:
        from isal.isal_zlib import crc32_combine as combine_crc32
    except ImportError:
        combine_crc32 = _combine
