"""Running checks: first what others need, then the rest side by side; again, what may have failed for want of time."""

import math
import random
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import attrs
import trio

from tracker_conformance.model import FORMAT, Facts, Judgement, Result, Run, Verdict
from tracker_conformance.probe import Probe, window_begin
from tracker_conformance.recorder import Recorder
from tracker_conformance.registry import RATE_LIMITED, Check, all_checks
from tracker_conformance.spec import spec_version
from tracker_conformance.target import Target
from tracker_conformance.transcript import Transcript
from tracker_conformance.websocket import UnreachableError

__all__ = ["OPTIONS", "judge_again", "run_suite", "suite_version"]

_AT_ONCE = 6
_ATTEMPTS = 5
_FEWER_ATTEMPTS = 3  # if all of these failed, it is no matter of luck
_TAKES_TOO_LONG_S = 120
_RETURNS = 4  # how often it comes back when a server finds it too much, waiting twice as long each time
_LONGEST_PAUSE_S = 30
_OFFSETS_S = 25 * 24 * 3600  # of days that a server still holds that lets go of what is a month old
_NEEDED_VERDICTS = (Verdict.PASS, Verdict.WARN)

OPTIONS = {
    "write_url": "write-url",
    "read_url": "read-url",
    "ping_url": "ping-url",
    "api_key": "api-key-env",
    "ingest_key": "ingest-key-env",
    "query_key": "query-key-env",
    "app_key": "app-key-env",
}
"""The options that give what a check uses; the others of a check's uses are facts."""

OnResult = Callable[[Result], None]


def suite_version() -> str:
    """The version of this suite."""
    try:
        return version("wsproto-tracker")
    except PackageNotFoundError:
        return "unknown"


async def run_suite(
    target: Target,
    checks: Sequence[Check] | None = None,
    *,
    on_result: OnResult = lambda _result: None,
    seed: int | None = None,
    command: str = "",
) -> Run:
    """Judge a server by some checks, or by all; what these need is tried as well, and reported where it was asked for.

    :param on_result: told of each result, as it comes.
    :param seed: of what tells the events of this run from others; a random one for none.
    :raises UnreachableError: if nobody listens there.
    """
    session = _Session(target, random.Random(seed))  # noqa: S311 - it keeps no secret
    started, begun = datetime.now(UTC), trio.current_time()
    wanted = list(all_checks() if checks is None else checks)
    needed = _with_needs(wanted)
    asked_for = {check.name for check in wanted}
    results: dict[str, Result] = {}

    async def run(check: Check, limiter: trio.CapacityLimiter | None = None) -> None:
        if limiter is None:
            results[check.name] = await session.run(check, results)
        else:
            async with limiter:
                results[check.name] = await session.run(check, results)
        if check.name in asked_for:
            on_result(results[check.name])

    for check in needed or wanted[:1]:  # one after the other, so that it is told once if nobody listens
        await run(check)
    limiter = trio.CapacityLimiter(_AT_ONCE)
    async with trio.open_nursery() as nursery:
        for check in wanted:
            if check.name not in results:
                nursery.start_soon(run, check, limiter)
    return Run(
        FORMAT,
        suite_version(),
        spec_version(),
        target.urls,
        target.redacted(command),
        started.isoformat(timespec="seconds").replace("+00:00", "Z"),
        round(trio.current_time() - begun, 3),
        session.latency_s,
        tuple(results[check.name] for check in wanted),
    )


def judge_again(run: Run) -> Run:
    """Judge the transcripts of a saved run again, by the judges of this release.

    What was no matter of judging (a skip before anything was sent, a prerequisite that failed) stays.
    """
    judges = {check.name: check for check in all_checks()}
    return attrs.evolve(run, results=tuple(_judged_again(result, judges) for result in run.results))


def _judged_again(result: Result, judges: dict[str, Check]) -> Result:
    check = judges.get(result.check)
    if not result.entries or result.judgement.verdict is Verdict.ERROR:
        return result
    if check is None:
        return attrs.evolve(result, judgement=Judgement(Verdict.ERROR, "there is no such check in this release"))
    return attrs.evolve(result, judgement=check.judged(Transcript(result.entries, result.facts)))


def _with_needs(checks: Iterable[Check]) -> list[Check]:
    """What some checks need, and what that needs, in the order in which it has to be tried."""
    by_name = {check.name: check for check in all_checks()}
    found: dict[str, Check] = {}

    def add(check: Check) -> None:
        for name in check.needs:
            add(by_name[name])
            found.setdefault(name, by_name[name])

    for check in checks:
        add(check)
    return list(found.values())


class _Session:
    """One run: its target, and what tells its events from others."""

    def __init__(self, target: Target, chance: random.Random) -> None:
        self._target = target
        self._mark = f"tc-{chance.getrandbits(40):010x}"
        self._offset_s = chance.randrange(_OFFSETS_S)
        self._numbers = iter(range(1_000_000))
        self.latency_s = 0.0
        self._was_reached = False

    async def run(self, check: Check, results: dict[str, Result]) -> Result:
        """Try a check, unless it is clear before that it cannot be tried."""
        begun = trio.current_time()
        facts = Facts("", has_key=bool(self._target.api_key))
        why_not = self._why_not(check, results)
        if why_not is not None:
            return Result(check.name, check.ids, check.title, why_not, 0.0, 0, 0, facts, ())
        judgement, facts, recorder = await self._attempt(check)
        for patience in range(_RETURNS):
            if not judgement.reason.startswith(RATE_LIMITED):
                break
            limits = Transcript(recorder.entries, facts).rate_limits()
            longest_s = max(limit.retry_after_s or 0 for limit in limits)
            await trio.sleep(min(longest_s * 2**patience, _LONGEST_PAUSE_S))
            judgement, facts, recorder = await self._attempt(check)
        attempts, failures = 1, int(_is_failure(judgement))
        if failures and _waited_in_vain(recorder):
            while attempts < _ATTEMPTS and not failures == attempts == _FEWER_ATTEMPTS:
                again = await self._attempt(check)
                attempts += 1
                failures += _is_failure(again[0])
        if not self.latency_s:
            self.latency_s = _latency_s(recorder)
            self._target = attrs.evolve(self._target, latency_s=self.latency_s)
        seconds = round(trio.current_time() - begun, 3)
        entries = tuple(recorder.entries)
        return Result(check.name, check.ids, check.title, judgement, seconds, attempts, failures, facts, entries)

    async def _attempt(self, check: Check) -> tuple[Judgement, Facts, Recorder]:
        number = next(self._numbers)
        facts = Facts(f"{self._mark}-{number}-", has_key=bool(self._target.api_key))
        recorder = Recorder(self._target)
        probe = Probe(self._target, facts, window_begin(number, self._offset_s), recorder)
        problem: Exception | None = None
        with trio.move_on_after(_TAKES_TOO_LONG_S * max(self._target.timeout_scale, 1)) as scope:
            try:
                await check.send(probe)
            except Exception as error:
                unreachable = [leaf for leaf in _leaves(error) if isinstance(leaf, UnreachableError)]
                if unreachable and not self._was_reached:
                    raise unreachable[0] from None
                if unreachable:
                    recorder.add("refused", 0, str(unreachable[0]))  # it was there before
                else:
                    problem = error
        self._was_reached = self._was_reached or any(entry.kind in ("open", "refused") for entry in recorder.entries)
        if scope.cancelled_caught:
            problem = TimeoutError("it did not end")
        if problem is not None:
            told = "; ".join(f"{type(found).__name__}: {found}" for found in _leaves(problem))
            return Judgement(Verdict.ERROR, f"the check failed: {told}"), facts, recorder
        return check.judged(Transcript(tuple(recorder.entries), facts)), facts, recorder

    def _why_not(self, check: Check, results: dict[str, Result]) -> Judgement | None:
        for use in check.uses:
            if use == "no_key":
                if self._target.api_key:
                    return Judgement(Verdict.SKIP, "the server has a key configured")
            elif not getattr(self._target, use):
                return Judgement(Verdict.SKIP, f"needs --{OPTIONS[use]}")
        if check.writes and self._target.read_only:
            return Judgement(Verdict.SKIP, "it would save events; left out by --read-only")
        for name in check.needs:
            verdict = results[name].judgement.verdict
            if verdict is Verdict.SKIP:
                continue
            if verdict not in _NEEDED_VERDICTS:
                return Judgement(Verdict.UNTESTABLE, f"{name} has to pass first")
        return None


def _is_failure(judgement: Judgement) -> bool:
    return judgement.verdict in (Verdict.FAIL, Verdict.WARN)


def _waited_in_vain(recorder: Recorder) -> bool:
    return any(entry.kind == "waited" for entry in recorder.entries)


def _latency_s(recorder: Recorder) -> float:
    """The longest time between something sent and something received next."""
    longest, sent = 0.0, math.inf
    for entry in recorder.entries:
        if entry.kind == "send":
            sent = entry.at_s
        elif entry.kind == "receive" and sent < math.inf:
            longest, sent = max(longest, entry.at_s - sent), math.inf
    return longest


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
