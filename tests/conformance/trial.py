"""Trying the suite on servers of the tests' own, and comparing with what is predicted."""

from collections.abc import Iterable, Mapping, Sequence

import attrs
from tracker_conformance import Check, Result, Run, Target, Verdict, all_checks, run_suite

from tests.conformance.mutants import Mutant
from tests.conformance.reference import Reference, running
from tests.conformance.reference.access import APP_KEY, INGEST_KEY, QUERY_KEY
from tests.conformance.reference.server import Server

__all__ = ["Comparison", "compared", "predicted", "tried", "verdicts"]

PATIENCE = 0.2
_FAILURES = (Verdict.FAIL, Verdict.WARN)


async def tried(
    server: Server,
    key: str = "",
    checks: Sequence[Check] | None = None,
    *,
    patience: float = PATIENCE,
    deflate: bool = False,
) -> Run:
    """A run of the suite, or of some checks.

    :param patience: by what all waits are multiplied.
    :param deflate: whether every connection offers permessage-deflate.
    """
    async with running(server) as urls:
        target = Target(urls.ws, urls.write, urls.read, urls.ping, timeout_scale=patience, deflate=deflate)
        if key:
            target = attrs.evolve(target, api_key=key, ingest_key=INGEST_KEY, query_key=QUERY_KEY, app_key=APP_KEY)
        return await run_suite(target, checks, seed=1)


def verdicts(run: Run) -> dict[str, Verdict]:
    """The verdict of each check; a failure that was not one when tried again, for want of time, is none."""
    return {result.check: _steady(result) for result in run.results}


def _steady(result: Result) -> Verdict:
    is_luck = result.judgement.verdict in _FAILURES and result.failures < result.attempts
    return Verdict.PASS if is_luck else result.judgement.verdict


def predicted(mutant: Mutant, baseline: Mapping[str, Verdict], checks: Iterable[Check]) -> dict[str, Verdict]:
    """What the suite has to say of a mutant, by what it says of the server that is not broken."""
    failing = mutant.predicted(all_checks())
    expected: dict[str, Verdict] = {}
    by_name = {check.name: check for check in all_checks()}

    def verdict(check: Check) -> Verdict:
        if check.name not in expected:
            needed = [verdict(by_name[name]) for name in check.needs]
            if _cannot_be_tried(check, mutant):
                expected[check.name] = Verdict.SKIP
            elif Verdict.FAIL in needed or Verdict.UNTESTABLE in needed:
                expected[check.name] = Verdict.UNTESTABLE
            elif check.name in failing:
                expected[check.name] = Verdict.WARN if check.level == "should" else Verdict.FAIL
            elif check.name in mutant.untestable:
                expected[check.name] = Verdict.UNTESTABLE
            elif check.name in mutant.skips:
                expected[check.name] = Verdict.SKIP
            else:
                expected[check.name] = baseline.get(check.name, Verdict.PASS)
        return expected[check.name]

    return {check.name: verdict(check) for check in checks}


def _cannot_be_tried(check: Check, mutant: Mutant) -> bool:
    return ("no_key" if mutant.key(all_checks()) else "api_key") in check.uses


@attrs.frozen
class Comparison:
    """A mutant, as the suite judged it.

    :ivar failed: names of the checks that failed.
    :ivar surprises: what is not as predicted, in words.
    """

    mutant: Mutant
    failed: tuple[str, ...]
    surprises: tuple[str, ...]
    seconds: float


def compared(mutant: Mutant, run: Run, baseline: Mapping[str, Verdict], checks: Sequence[Check]) -> Comparison:
    """Compare the suite's verdicts with the predicted ones."""
    found, expected = verdicts(run), predicted(mutant, baseline, checks)
    failing = mutant.predicted(all_checks())
    judged = [name for name in expected if not mutant.disturbs or name in failing]
    surprises = [f"{name}: {expected[name]} predicted, {found[name]} found" for name in judged]
    return Comparison(
        mutant,
        tuple(name for name in expected if found[name] in _FAILURES),
        tuple(line for line, name in zip(surprises, judged, strict=True) if expected[name] != found[name]),
        run.seconds,
    )


async def baseline(kind: type[Reference], key: str) -> dict[str, Verdict]:
    """What the suite says of a server that is not broken."""
    return verdicts(await tried(kind(key), key))
