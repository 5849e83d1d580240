"""``python -m tests.fuzz``: fuzz the targets one after the other, guided by coverage, and keep what is found."""

import argparse
import random
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from tests.fuzz.targets import TARGETS, Target
from tests.support import ROOT

_MEMORY_MIB = 2048
_INPUT_TIMEOUT_S = 10
_TOLD_CHARS = 2000
_START_AND_END_S = 60  # besides the time that is asked for
_MISSING = """\
atheris is missing: python -m pip install -e '.[fuzz]'
There are wheels of it for CPython 3.11 to 3.14 on Linux, x86-64. Without it, "pytest tests/test_fuzz.py" replays what
was found, and tries some thousand inputs.
"""
_EPILOG = """\
examples:
  python -m tests.fuzz                              every target, a minute each
  python -m tests.fuzz session body --seconds 600   two of them, for longer
  python -m tests.fuzz file --seed 7                with the choices of a run before, as far as the time lets it get

A target ends at its first finding, which is kept in tests/fuzz/findings and replayed by every run of the tests.
The exit status is 1 if something was found.
"""


@attrs.frozen
class Outcome:
    """What became of a run.

    :ivar inputs: how many were tried.
    :ivar branches: how many of the code's were taken by any of them.
    :ivar findings: the input that a fault was found with, if it was an input.
    :ivar fault: what is known of it; empty where there is none.
    """

    inputs: int
    branches: int
    findings: list[Path]
    fault: str


def command_line() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description="Fuzz what reads bytes from outside, guided by coverage.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)} (default: all)")
    parser.add_argument("--seconds", type=_from_one, default=60, metavar="N", help="time for each target (default: 60)")
    parser.add_argument("--seed", type=_from_one, metavar="S", help="of all choices (default: another one each time)")
    return parser


def main() -> int:
    """Run what is asked for; the exit status."""
    parser = command_line()
    asked = parser.parse_args()
    if unknown := [name for name in asked.targets if name not in TARGETS]:
        parser.error(f"{', '.join(unknown)}: no such target; there are {', '.join(TARGETS)}")
    if find_spec("atheris") is None:
        print(_MISSING, end="", file=sys.stderr)
        return 2
    seed = random.randrange(1, 10**9) if asked.seed is None else asked.seed
    print(f"seed {seed}, {asked.seconds} s for each target")
    found = 0
    for name in asked.targets or TARGETS:
        outcome = fuzz(TARGETS[name], asked.seconds, seed)
        verdict = "FOUND" if outcome.fault else "nothing found"
        print(f"{name:10} {outcome.inputs:>9,} inputs, {outcome.branches:>5,} branches: {verdict}", flush=True)
        if outcome.fault:
            found += 1
            print(outcome.fault, *outcome.findings, sep="\n", flush=True)
    return 1 if found else 0


def _from_one(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,8}", text, re.ASCII):
        raise argparse.ArgumentTypeError("expected a whole number from 1, of nine digits at most")
    return int(text)


def fuzz(target: Target, seconds: int, seed: int) -> Outcome:
    """Fuzz one target in a process of its own, beginning with its corpus, its findings and its examples."""
    with TemporaryDirectory() as directory:
        seeds, grown, written = (Path(directory, name) for name in ("seeds", "grown", "written"))
        for folder in (seeds, grown, written):
            folder.mkdir()
        for number, data in enumerate(target.seeds()):
            Path(seeds, str(number)).write_bytes(data)
        log = Path(directory, "log")
        options = {
            "max_total_time": seconds,
            "seed": seed,
            "max_len": target.max_bytes,
            "timeout": _INPUT_TIMEOUT_S,
            "rss_limit_mb": _MEMORY_MIB,
            "artifact_prefix": f"{written}/",
            "print_final_stats": 1,
        }
        arguments = [*(f"-{name}={value}" for name, value in options.items()), str(grown), str(seeds)]
        with log.open("wb") as output:
            try:
                status = subprocess.run(
                    [sys.executable, "-m", "tests.fuzz.worker", target.name, *arguments],
                    cwd=ROOT,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=seconds + _START_AND_END_S,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired as error:
                output.write(str(error).encode())
                status = 1
        findings = [_kept(path, target) for path in written.iterdir()]
        return _outcome(log.read_text("utf-8", "replace"), findings, is_clean=status == 0 and not findings)


def _kept(path: Path, target: Target) -> Path:
    """Put an input that libFuzzer has written to the findings."""
    target.findings.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(path, target.findings))


def _outcome(log: str, findings: list[Path], *, is_clean: bool) -> Outcome:
    """What libFuzzer has said of a run."""
    tried = re.search(r"^stat::number_of_executed_units: *(\d+)", log, re.M)
    covered = re.findall(r"^#\d+.* cov: (\d+)", log, re.M)
    fault = re.search(r"=== Uncaught Python exception: ===\n(.+?)\n\n", log, re.S)
    return Outcome(
        inputs=int(tried[1]) if tried else 0,
        branches=int(covered[-1]) if covered else 0,
        findings=findings,
        fault="" if is_clean else fault[1] if fault else log[-_TOLD_CHARS:],
    )


if __name__ == "__main__":
    sys.exit(main())
