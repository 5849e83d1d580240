"""What a run comes to: whether the server conforms, given what is known to fail."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

import attrs

from tracker_conformance.model import Result, Run, Verdict
from tracker_conformance.options import OptionError
from tracker_conformance.registry import all_checks

__all__ = ["CONFORMANT", "NOT_CONFORMANT", "SUITE_FAILED", "Outcome", "is_known", "known_failures", "outcome"]

CONFORMANT = 0
NOT_CONFORMANT = 1
SUITE_FAILED = 4

_TRIED = (Verdict.PASS, Verdict.FAIL, Verdict.WARN, Verdict.ERROR)
_NOT_MET = (Verdict.FAIL, Verdict.UNTESTABLE)


@attrs.frozen
class Outcome:
    """What a run comes to.

    :ivar status: the exit status.
    :ivar headline: it, in one line.
    :ivar problems: what else has to be said, a line each.
    """

    status: int
    headline: str
    problems: tuple[str, ...]

    @property
    def is_conformant(self) -> bool:
        """Whether all is well."""
        return self.status == CONFORMANT


def outcome(run: Run, known: Mapping[str, str]) -> Outcome:
    """What a run comes to.

    :param known: the reasons of what is known to fail, by the names of the checks.
    """
    problems = [run.problem] if run.problem else []
    verdicts = {result.check: result.judgement.verdict for result in run.results}
    stale = [name for name in known if verdicts.get(name) is Verdict.PASS]
    problems += [f"{name} is known to fail, but passes; take it out of the baseline" for name in stale]
    failed = [result for result in run.results if result.judgement.verdict in _NOT_MET and not is_known(result, known)]
    if not run.problem and not any(verdict in _TRIED for verdict in verdicts.values()):
        problems.append("nothing was tried: every check was skipped or could not be tested")
    if Verdict.ERROR in verdicts.values():
        return Outcome(SUITE_FAILED, "The suite itself failed; its results are not whole.", tuple(problems))
    version = run.spec_version
    if failed:
        return Outcome(NOT_CONFORMANT, f"Does not conform to version {version} of the protocol.", tuple(problems))
    if problems:
        return Outcome(NOT_CONFORMANT, "Cannot be said to conform.", tuple(problems))
    but = ", but for what is known" if any(is_known(result, known) for result in run.results) else ""
    return Outcome(CONFORMANT, f"What was tried conforms to version {version} of the protocol{but}.", ())


def is_known(result: Result, known: Mapping[str, str]) -> bool:
    """Whether a check is known to fail, and does, or could not be tested."""
    return result.check in known and result.judgement.verdict in (*_NOT_MET, Verdict.WARN)


def known_failures(file: Path) -> dict[str, str]:
    """Read a baseline: a TOML file whose table ``known`` has a reason for each check that is known to fail.

    :raises OptionError: if it cannot be read, or names a check that does not exist.
    """
    try:
        table = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:  # a ValueError for what is not UTF-8 or not TOML, or a path that is none
        what = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else f"expected TOML: {error}"
        raise OptionError(f"--baseline: {file}: {what}") from None
    known = table.get("known")
    if not isinstance(known, dict) or len(table) > 1:
        raise OptionError(
            f'--baseline: {file}: expected one table [known], with lines such as "queries.newest-first" = "why"'
        )
    names = {check.name for check in all_checks()}
    for name, why in known.items():
        if name not in names:
            hint = "; put the name in quotes" if isinstance(why, dict) else "; --list shows all"
            raise OptionError(f"--baseline: {file}: {name}: there is no such check{hint}")
        if not isinstance(why, str) or not why.strip():
            raise OptionError(f"--baseline: {file}: {name}: expected the reason, a text that is not empty")
    return known
