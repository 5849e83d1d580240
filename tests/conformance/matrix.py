"""The kill matrix: each mutant against the whole suite.

``python -m tests.conformance.matrix [--all | --sample N --seed S | MUTANT…] [--out FILE]``
"""

import argparse
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import trio
from tracker_conformance import all_checks
from tracker_conformance.checks.unseen import UNSEEN
from tracker_conformance.spec import requirements, spec_version
from tracker_conformance.suite import suite_version

from tests.conformance.mutants import Mutant, all_mutants
from tests.conformance.trial import PATIENCE, Comparison, baseline, compared, tried

__all__ = ["command_line", "kill_matrix", "main", "unkilled", "without_mutant"]

_AT_ONCE = 1


async def kill_matrix(
    mutants: Sequence[Mutant], at_once: int = _AT_ONCE, *, patience: float = PATIENCE
) -> list[Comparison]:
    """Try the suite on some mutants.

    :param patience: by what all waits are multiplied.
    """
    checks = all_checks()
    settings = dict.fromkeys((mutant.base, mutant.key(checks)) for mutant in mutants)
    baselines = {setting: await baseline(*setting) for setting in settings}
    found: dict[str, Comparison] = {}
    limiter = trio.CapacityLimiter(at_once)

    async def judge(mutant: Mutant) -> None:
        key = mutant.key(checks)
        async with limiter:
            run = await tried(mutant.server(key), key, patience=patience)
        found[mutant.name] = compared(mutant, run, baselines[mutant.base, key], checks)
        print(_line(found[mutant.name]), flush=True)

    async with trio.open_nursery() as nursery:
        for mutant in mutants:
            nursery.start_soon(judge, mutant)
    return [found[mutant.name] for mutant in mutants]


def unkilled(comparisons: Sequence[Comparison]) -> list[str]:
    """The names of the checks that failed for no mutant."""
    killed = {name for comparison in comparisons for name in comparison.failed}
    return [check.name for check in all_checks() if check.name not in killed]


def without_mutant() -> dict[str, str]:
    """The requirements that no mutant breaks, and why."""
    broken = {mutant.id for mutant in all_mutants()}
    return {name: UNSEEN.get(name, "") for name in requirements() if name not in broken}


def _line(comparison: Comparison) -> str:
    mutant = comparison.mutant
    lines = [
        f"{mutant.id:12} {mutant.name:28} {comparison.seconds:5.1f} s  {', '.join(comparison.failed) or 'survived'}"
    ]
    return "\n".join([*lines, *(f"    {surprise}" for surprise in comparison.surprises)])


def _markdown(comparisons: Sequence[Comparison]) -> str:
    surprised = [comparison for comparison in comparisons if comparison.surprises]
    lines = [
        "# Kill matrix",
        "",
        "Each line is a server that breaks one requirement in a way in which backends break it, and is otherwise right",
        "(`tests/conformance/mutants`). The whole suite was run on each. *As predicted* means: exactly these checks",
        "failed, what needs them was called untestable, and every other verdict was that of the unbroken server.",
        "",
        f"Revision {_revision()}, suite {suite_version()}, specification {spec_version()}; made by "
        "`python -m tests.conformance.matrix --all --out conformance/KILL-MATRIX.md`.",
        "",
        f"{len(comparisons)} mutants, {len(comparisons) - len(surprised)} as predicted.",
        "",
        "| requirement | mutant | what it does wrong | checks that failed | as predicted |",
        "|---|---|---|---|---|",
    ]
    for comparison in comparisons:
        mutant = comparison.mutant
        also = " (and what it disturbs)" if mutant.disturbs else ""
        failed = ", ".join(sorted(set(comparison.failed) & set(mutant.predicted(all_checks()))))
        verdict = "yes" if not comparison.surprises else "; ".join(comparison.surprises)
        lines.append(f"| {mutant.id} | {mutant.name} | {mutant.title} | {failed}{also} | {verdict} |")
    lines += ["", "## Checks that no mutant fails", ""]
    lines += [f"- {name}" for name in unkilled(comparisons)] or ["None."]
    lines += ["", "## Requirements without a mutant", ""]
    lines += [f"- {name}: {why}" for name, why in without_mutant().items()]
    return "\n".join([*lines, ""])


def _revision() -> str:
    git = ["git", "rev-parse", "--short", "HEAD"]
    revision = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    changed = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    return revision + (" with changes" if changed else "")


def command_line() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.matrix", description="Run the kill matrix.")
    parser.add_argument(
        "mutants", nargs="*", metavar="MUTANT", help="names of mutants, or requirements that they break"
    )
    parser.add_argument("--all", action="store_true", help="all mutants")
    parser.add_argument("--sample", type=int, metavar="N", help="some mutants, by chance")
    parser.add_argument("--seed", type=int, help="the choice of --sample, as a run before printed it")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the matrix is written to, as Markdown")
    parser.add_argument("--at-once", type=int, default=_AT_ONCE, metavar="N", help="how many mutants run side by side")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the kill matrix; 0 if all is as predicted."""
    parser = command_line()
    options = parser.parse_args(arguments)
    chosen = _chosen(options)
    if not chosen:
        parser.error("expected --all, --sample, or the names of mutants")
    comparisons = trio.run(kill_matrix, chosen, options.at_once)
    if options.out:
        options.out.write_text(_markdown(comparisons), "utf-8")
    surprised = [comparison.mutant.name for comparison in comparisons if comparison.surprises]
    print(f"{len(comparisons)} mutants, {len(surprised)} not as predicted: {', '.join(surprised) or 'none'}")
    if options.all:
        print("Checks that no mutant fails:", ", ".join(unkilled(comparisons)) or "none")
        unexplained = [name for name, why in without_mutant().items() if not why]
        print("Requirements without a mutant and a reason:", ", ".join(unexplained) or "none")
    return 1 if surprised else 0


def _chosen(options: argparse.Namespace) -> list[Mutant]:
    mutants = all_mutants()
    if options.all:
        return mutants
    if options.sample:
        seed = random.randrange(10**6) if options.seed is None else options.seed
        print(f"--seed {seed}")
        return random.Random(seed).sample(mutants, options.sample)
    return [mutant for mutant in mutants if mutant.name in options.mutants or mutant.id in options.mutants]


if __name__ == "__main__":
    sys.exit(main())
