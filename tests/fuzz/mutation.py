"""How one input is made from another. Hypothesis and the coverage-guided run both do it like this."""

import random
import re
from collections.abc import Sequence

__all__ = ["mutated"]

_PIECES = re.compile(rb'"(?:[^"\\]|\\.)*"|\w+|\s+|.', re.DOTALL)
_MAX_REPEATS = 150
_MAX_EDITS = 4


def mutated(data: bytes, chance: random.Random, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    """Change an input a little.

    It is taken to pieces as JSON, HTTP and timestamps are made of (strings, words, space, single characters), so that
    much of what comes out is nearly right: bytes that are plainly wrong never get far.

    :param words: what may be put in.
    :param others: inputs that it may get the end of.
    """
    pieces = _PIECES.findall(data)
    for _ in range(chance.randint(1, _MAX_EDITS)):
        start = chance.randrange(len(pieces) + 1)
        stop = min(start + chance.choice([1, 1, 1, 2, 4, 16]), len(pieces))
        match chance.randrange(7):
            case 0:
                pieces[start:stop] = [chance.choice(words)]
            case 1:
                pieces[start:start] = [chance.choice(words)]
            case 2:
                del pieces[start:stop]
            case 3:
                pieces[start:start] = pieces[start:stop] * chance.choice([1, 1, 2, chance.randint(1, _MAX_REPEATS)])
            case 4 if pieces:
                pieces[start:stop] = [chance.choice(pieces)]
            case 5 if others:
                other = _PIECES.findall(chance.choice(others))
                pieces[start:] = other[chance.randrange(len(other) + 1) :]
            case _:
                pieces[start:stop] = [_changed(b"".join(pieces[start:stop]), chance)]
    return b"".join(pieces)


def _changed(piece: bytes, chance: random.Random) -> bytes:
    """With one byte changed, or put in."""
    place = chance.randrange(len(piece) + 1)
    return piece[:place] + bytes([chance.randrange(256)]) + piece[place + chance.randrange(2) :]
