"""Runs: what is packed comes back, runs can be joined as they lie, and no damage goes unnoticed."""

import subprocess
import sys
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproto_tracker.store.run import DamageError, Row, inflate, pack, read_index, read_rows

rows = st.lists(
    st.tuples(st.integers(-(2**62), 2**62), st.integers(1, 2**62), st.binary(min_size=2, max_size=200)),
    min_size=1,
    max_size=30,
    unique_by=lambda row: row[1],
).map(sorted)


@given(rows=rows)
def test_comes_back(rows: list[Row]) -> None:
    """Rows come back as they were, their keys without their texts being inflated."""
    seal, index, data = pack(rows)
    assert (seal.count, seal.text_bytes) == (len(rows), sum(len(text) + 1 for _, _, text in rows) - 1)
    assert read_rows(seal, index, data) == rows
    keys = read_index(seal, index)
    assert list(zip(keys.instants, keys.arrivals, strict=True)) == [row[:2] for row in reversed(rows)]


@given(runs=st.lists(rows, min_size=1, max_size=5))
def test_can_be_joined(runs: list[list[Row]]) -> None:
    """Data of runs, with a stored block that holds a comma between two, is one raw deflate stream (RFC 1951)."""
    comma = b"\x00\x01\x00\xfe\xff,"
    joined = comma.join(pack(run)[2] for run in runs)
    expected = b",".join(text for run in runs for _, _, text in reversed(run))
    assert inflate(joined) == expected
    assert zlib.decompressobj(-zlib.MAX_WBITS).decompress(joined) == expected


@given(rows=rows, place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_damage_shows(rows: list[Row], place: int, bit: int) -> None:
    """A bit that has changed, in index or data, is noticed."""
    seal, index, data = pack(rows)
    content = bytearray(index + data)
    content[place % len(content)] ^= 1 << bit
    with pytest.raises(DamageError):
        read_rows(seal, bytes(content[: len(index)]), bytes(content[len(index) :]))


@pytest.mark.parametrize("cut", [0, 1, -1])
def test_cut_short(cut: int) -> None:
    """Data or an index that ends early is noticed."""
    seal, index, data = pack([(1, 1, b"{}"), (2, 2, b"[]")])
    with pytest.raises(DamageError, match="checksum of its data"):
        read_rows(seal, index, data[:cut])
    with pytest.raises(DamageError, match="checksum of its index"):
        read_rows(seal, index[:cut], data)


def test_without_isal() -> None:
    """Where there is no isal, zlib does the same; what one has packed the other reads."""
    program = (
        "import sys; sys.modules['isal'] = None\n"
        "from wsproto_tracker.store import run\n"
        "assert run.deflate.__name__ == 'zlib'\n"
        "rows = [(n, n, b'{\"n\":%d}' % n) for n in range(1, 2000)]\n"
        "print(run.pack(rows)[2].hex())\n"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout
    expected = b",".join(b'{"n":%d}' % number for number in reversed(range(1, 2000)))
    assert inflate(bytes.fromhex(printed)) == expected
