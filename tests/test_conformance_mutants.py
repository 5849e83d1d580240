"""Each mutant is found by the checks that judge what it breaks, and by no other.

``python -m tests.conformance.matrix --all`` tries all of them on the whole suite.
"""

import random
from itertools import groupby

import pytest
import trio
from tracker_conformance import Check, all_checks

from tests.conformance.matrix import kill_matrix, without_mutant
from tests.conformance.mutants import Mutant, all_mutants
from tests.conformance.trial import PATIENCE, compared, tried

_AT_ONCE = 4
_SAMPLE = 1
_MODULES = {
    module.rpartition(".")[2]: list(mutants)
    for module, mutants in groupby(all_mutants(), key=lambda mutant: mutant.server.__module__)
}


@pytest.mark.parametrize("module", _MODULES)
async def test_is_found_by_its_checks(module: str) -> None:
    surprises: dict[Mutant, tuple[str, ...]] = {}
    limiter = trio.CapacityLimiter(_AT_ONCE)

    async def judge(mutant: Mutant, patience: float = PATIENCE) -> None:
        checks, key = _own_checks(mutant), mutant.key(all_checks())
        async with limiter:
            run = await tried(mutant.server(key), key, checks, patience=patience)
        surprises[mutant] = compared(mutant, run, {}, checks).surprises

    async with trio.open_nursery() as nursery:
        for mutant in _MODULES[module]:
            nursery.start_soon(judge, mutant)
    for mutant in [mutant for mutant, found in surprises.items() if found]:
        await judge(mutant, 4 * PATIENCE)  # alone, for a busy machine may have let it wait too long
    assert {f"{mutant.id} {mutant.name}": found for mutant, found in surprises.items() if found} == {}


def _own_checks(mutant: Mutant) -> list[Check]:
    predicted = mutant.predicted(all_checks())
    named = {*predicted, *mutant.untestable, *mutant.skips}
    return [check for check in all_checks() if check.name in named or mutant.id in check.ids]


async def test_sample_is_found_by_no_other_check(pytestconfig: pytest.Config) -> None:
    seed = pytestconfig.getoption("--seed")
    seed = random.randrange(10**6) if seed is None else seed
    print(f"--seed {seed}")
    sample = random.Random(seed).sample(all_mutants(), _SAMPLE)
    comparisons = await kill_matrix(sample, at_once=1)
    surprising = [found.mutant for found in comparisons if found.surprises]
    if surprising:  # a busy machine may have let one wait too long
        comparisons = await kill_matrix(surprising, at_once=1, patience=4 * PATIENCE)
    assert {found.mutant.name: found.surprises for found in comparisons if found.surprises} == {}


def test_every_requirement_has_a_mutant_or_a_reason() -> None:
    assert [name for name, why in without_mutant().items() if not why] == []


def test_every_check_is_failed_by_a_mutant() -> None:
    checks = all_checks()
    failed = {name for mutant in all_mutants() for name in mutant.predicted(checks)}
    assert [check.name for check in checks if check.name not in failed] == []


def test_predictions_name_checks() -> None:
    names = {check.name for check in all_checks()}
    for mutant in all_mutants():
        assert mutant.predicted(all_checks()), mutant.name
        assert mutant.fails | mutant.also | mutant.skips <= names, mutant.name


def test_mutants_have_names_of_their_own() -> None:
    names = [mutant.name for mutant in all_mutants()]
    assert len(set(names)) == len(names)
