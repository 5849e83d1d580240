"""Checks: what one is, how one is written, and which are selected."""

from collections.abc import Awaitable, Callable, Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import attrs

from tracker_conformance.model import FailedError, Judgement, SkippedError, UntestableError, Verdict
from tracker_conformance.spec import Requirement, requirements
from tracker_conformance.transcript import Transcript, short

if TYPE_CHECKING:
    from tracker_conformance.probe import Probe

__all__ = ["RATE_LIMITED", "Check", "Judge", "Send", "all_checks", "check", "select"]

RATE_LIMITED = "the server finds it too much"
"""How the reason begins of what could not be tested for that."""

_CHECKS: dict[str, "Check"] = {}

Send = Callable[["Probe"], Awaitable[None]]
Judge = Callable[[Transcript], None]


@attrs.frozen
class Check:
    """One thing that is tried, and how it is judged.

    :ivar name: ``section.what``.
    :ivar ids: the requirements that it judges; the first is the one that it is about.
    :ivar title: in words, what a server does that passes.
    :ivar send: does what is to be recorded. It judges nothing, and goes on whatever the server does.
    :ivar judge: a pure function; it returns where all is well, and raises ``FailedError``, ``SkippedError`` or
        ``UntestableError`` else.
    :ivar needs: names of the checks that have to pass first.
    :ivar uses: what it takes: names of fields of ``Target``, or ``no_key``.
    :ivar writes: whether it sends events that may be saved.
    """

    name: str
    ids: tuple[str, ...]
    title: str
    send: Send
    judge: Judge
    needs: tuple[str, ...]
    uses: tuple[str, ...]
    writes: bool

    @property
    def requirements(self) -> list[Requirement]:
        """The requirements that it judges."""
        return [requirements()[name] for name in self.ids]

    @property
    def level(self) -> str:
        """``must``, ``should`` or ``may``: the strongest of its requirements."""
        levels = {requirement.level.removesuffix(" NOT").lower() for requirement in self.requirements}
        return next(level for level in ("must", "should", "may") if level in levels)

    @property
    def section(self) -> str:
        """The first part of its name."""
        return self.name.partition(".")[0]

    def judged(self, transcript: Transcript) -> Judgement:
        """Judge a transcript; the same one is always judged the same.

        What a server says is too much is no failure of what else was to be seen; it has to say it as LIMIT-6 asks.
        """
        limits = transcript.rate_limits()
        for limit in limits:
            if limit.retry_after_s is None:
                expected = "with rate_limited a whole number retryAfterMs, with 429 a Retry-After in seconds (LIMIT-6)"
                return Judgement(Verdict.FAIL, f"expected {expected}", expected, short(limit.told))
        judgement = self._judged(transcript)
        if limits and judgement.verdict is not Verdict.PASS and "LIMIT-6" not in self.ids:
            told = short(limits[0].told)
            return Judgement(Verdict.UNTESTABLE, f"{RATE_LIMITED}; allow the suite more, for it was told {told}")
        return judgement

    def _judged(self, transcript: Transcript) -> Judgement:
        try:
            self.judge(transcript)
        except FailedError as failed:
            verdict = Verdict.WARN if self.level == "should" else Verdict.FAIL
            received = short(failed.received)
            reason = f"expected {failed.expected}{transcript.hint()}"
            return Judgement(verdict, reason, failed.expected, received)
        except UntestableError as untestable:
            return Judgement(Verdict.UNTESTABLE, str(untestable))
        except SkippedError as skipped:
            return Judgement(Verdict.SKIP, str(skipped))
        except (TypeError, KeyError, IndexError, AttributeError, ValueError) as error:  # of what a server may send
            expected = "an answer of the shape that the specification gives it"
            verdict = Verdict.WARN if self.level == "should" else Verdict.FAIL
            return Judgement(verdict, f"expected {expected}", expected, f"another: {type(error).__name__}: {error}")
        except Exception as error:
            return Judgement(Verdict.ERROR, f"the judge failed: {type(error).__name__}: {error}")
        return Judgement(Verdict.PASS)


def check(
    *ids: str,
    judge: Judge,
    needs: Iterable[str] = ("basics.round-trip",),
    uses: Iterable[str] = (),
    writes: bool = True,
) -> Callable[[Send], Check]:
    """Make a check of a coroutine function: its name and its docstring become those of the check.

    :param judge: see ``Check``; so are the others.
    """

    def register(send: Send) -> Check:
        section = send.__module__.rpartition(".")[2].replace("_", "-")
        name = f"{section}.{send.__name__.replace('_', '-')}"
        title = (send.__doc__ or "").strip().splitlines()[0]
        made = Check(name, ids, title, send, judge, tuple(needs), tuple(uses), writes)
        if name in _CHECKS:
            raise ValueError(f"{name}: there are two checks of this name")
        _CHECKS[name] = made
        return made

    return register


def all_checks() -> list[Check]:
    """Every check, in the order in which they are reported."""
    import tracker_conformance.checks  # noqa: F401 - it registers them

    return list(_CHECKS.values())


def select(
    checks: Iterable[Check], patterns: Iterable[str] = (), excluded: Iterable[str] = (), level: str = "may"
) -> list[Check]:
    """Those that match one of the patterns, none of the excluded ones, and are of a level or above.

    :param patterns: of names, sections or ids, with ``*`` and ``?``; none for all.
    """
    ranks = ("must", "should", "may")
    wanted, unwanted = list(patterns), list(excluded)
    return [
        found
        for found in checks
        if (not wanted or any(_matches(found, pattern) for pattern in wanted))
        and not any(_matches(found, pattern) for pattern in unwanted)
        and ranks.index(found.level) <= ranks.index(level)
    ]


def _matches(found: Check, pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in (found.name, found.section, *found.ids))
