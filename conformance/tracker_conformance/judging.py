"""A run that may end early: it is interrupted, nobody listens, or the suite fails. What is known by then is kept."""

import signal
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import trio

from tracker_conformance.model import FORMAT, Result, Run
from tracker_conformance.outcome import SUITE_FAILED
from tracker_conformance.registry import Check
from tracker_conformance.spec import spec_version
from tracker_conformance.suite import run_suite, suite_version
from tracker_conformance.target import Target
from tracker_conformance.websocket import UnreachableError

__all__ = ["INTERRUPTED", "UNREACHABLE", "Judging"]

UNREACHABLE = 3
INTERRUPTED = 130


class Judging:
    """One run of the suite, in a program that does nothing else.

    :param on_result: told of each result, as it comes.
    :ivar status: the exit status of a run that is not whole; 0 for one that is.
    """

    def __init__(
        self,
        target: Target,
        checks: Sequence[Check],
        *,
        command: str,
        seed: int | None,
        on_result: Callable[[Result], None],
    ) -> None:
        self._target = target
        self._checks = checks
        self._command = command
        self._seed = seed
        self._on_result = on_result
        self._results: dict[str, Result] = {}
        self._problem = ""
        self.status = 0

    def run(self) -> Run:
        """Run the checks. A run that is not whole says why in ``problem``; of a bug, the traceback is on stderr."""
        started, begun = datetime.now(UTC), time.monotonic()
        try:
            whole = trio.run(self._run)
        except Exception as error:
            traceback.print_exception(error)
            whole = None
            self._ended(SUITE_FAILED, f"the suite failed: {type(error).__name__}: {error}")
        if whole is not None:
            return whole
        return Run(
            FORMAT,
            suite_version(),
            spec_version(),
            self._target.urls,
            self._target.redacted(self._command),
            started.isoformat(timespec="seconds").replace("+00:00", "Z"),
            round(time.monotonic() - begun, 3),
            0.0,
            tuple(self._results[check.name] for check in self._checks if check.name in self._results),
            self._target.redacted(self._problem),
        )

    async def _run(self) -> Run | None:
        run = None
        with trio.open_signal_receiver(signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:

                async def until_interrupted() -> None:
                    await anext(signals)
                    told = f"interrupted after {len(self._results)} of {len(self._checks)} checks"
                    self._ended(INTERRUPTED, told)
                    nursery.cancel_scope.cancel()

                nursery.start_soon(until_interrupted)
                try:
                    run = await run_suite(
                        self._target, self._checks, on_result=self._add, seed=self._seed, command=self._command
                    )
                except UnreachableError as error:
                    self._ended(UNREACHABLE, f"nobody listens: {error}")
                nursery.cancel_scope.cancel()
        return run

    def _add(self, result: Result) -> None:
        self._results[result.check] = result
        self._on_result(result)

    def _ended(self, status: int, problem: str) -> None:
        self.status, self._problem = status, problem
