"""``python -m tests.fuzz.worker TARGET [OPTION …] [FOLDER …]``: one target, guided by coverage, in its own process.

Options and folders are those of libFuzzer, which ends the process.
"""

import logging
import random
import sys

import atheris

with atheris.instrument_imports(include=["wsproto_tracker", "h11", "websockets"]):
    from tests.fuzz.targets import TARGETS

from tests.fuzz.mutation import mutated

_OWN_MUTATIONS = 0.75  # the others are libFuzzer's


def main() -> None:
    """Fuzz until the time is over, or something is found."""
    logging.getLogger("wsproto_tracker").addHandler(logging.NullHandler())
    program, name, *options = sys.argv
    target = TARGETS[name]
    seeds = target.seeds()

    def mutate(data: bytes, max_bytes: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < _OWN_MUTATIONS:
            return mutated(data, chance, target.words, seeds)[:max_bytes]
        return bytes(atheris.Mutate(data, max_bytes))

    atheris.Setup([program, *options], target.run, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
