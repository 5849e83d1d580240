"""The tests that the pytest plugin adds: the suite runs once, before the first test, and each tells of one check."""

import os
import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import trio

from tracker_conformance.model import Result, Run, Verdict
from tracker_conformance.options import APP_ID, KEYS, ORIGIN, OptionError, command, keys, selection, target
from tracker_conformance.registry import Check
from tracker_conformance.reports.wording import details
from tracker_conformance.suite import run_suite
from tracker_conformance.websocket import UnreachableError

__all__ = ["ShouldWarning", "Suite"]


class ShouldWarning(UserWarning):
    """A SHOULD is not met."""


def _flag(name: str) -> str:
    return "--tracker-" + name.replace("_", "-")


class Suite:
    """The suite in one session of pytest.

    :param option: gives an option's value by its name.
    :raises pytest.UsageError: if one is wrong.
    """

    def __init__(self, option: Callable[[str], Any]) -> None:
        variables = {name: option(f"{name}_env") for name in KEYS}
        try:
            self._target = target(
                option("url"),
                spelling=_flag,
                url_option=_flag("url"),
                urls={name: option(name) for name in ("write_url", "read_url", "ping_url")},
                keys=keys(variables, os.environ, _flag),
                app_id=APP_ID if option("app_id") is None else option("app_id"),
                origin=ORIGIN if option("origin") is None else option("origin"),
                ca=option("ca"),
                deflate=option("deflate"),
                read_only=option("read_only"),
                timeout_scale=option("timeout_scale"),
            )
            self._checks = selection(option("select"), option("exclude"), option("level"), _flag)
        except OptionError as error:
            raise pytest.UsageError(str(error)) from None
        self._command = command(self._target, variables)
        self._run: Run | None = None
        self._problem = "the suite did not run"

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        """Add a test for each check, so that ``-k`` and ``-m`` select among them, too."""
        tests = _Tests.from_parent(session, name="tracker", nodeid="tracker")
        tests.suite = self
        items += tests.collect()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Run the suite: here, and not in the first test, since what filters the warnings of tests is not for it."""
        names = {item.name for item in session.items if isinstance(item, _Test)}
        if names and not session.config.option.collectonly:
            self._judge([check for check in self._checks if check.name in names])

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail where nothing of the suite was tried: that is no success."""
        run = self._run
        if run and all(result.judgement.verdict is Verdict.SKIP for result in run.results) and not session.exitstatus:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @property
    def checks(self) -> list[Check]:
        """Those that are selected."""
        return self._checks

    def result(self, name: str) -> tuple[Run, Result]:
        """What became of a check; where the suite came to no results, the test that asks fails."""
        if self._run is None:
            pytest.fail(self._problem, pytrace=False)
        return self._run, next(result for result in self._run.results if result.check == name)

    def _judge(self, checks: list[Check]) -> None:
        async def run() -> Run:
            return await run_suite(self._target, checks, command=self._command)

        try:
            self._run = trio.run(run)
        except UnreachableError as error:
            self._problem = f"nobody listens: {error}"


class _Tests(pytest.Collector):
    """The checks of the suite."""

    suite: Suite

    def collect(self) -> list[pytest.Item]:
        return [_Test.from_parent(self, name=check.name, check=check, suite=self.suite) for check in self.suite.checks]


class _Test(pytest.Item):
    """One check."""

    obj = None  # pytest-trio looks here for a coroutine function

    def __init__(self, *, check: Check, suite: Suite, **options: Any) -> None:
        super().__init__(**options)
        self.add_marker("tracker")
        self._headline = f"{check.name}: {check.title.replace('``', '`')}"
        self._suite = suite

    def setup(self) -> None:
        """Fail here where the server is not at fault, or nobody knows: that is an error of the test, not a failure."""
        run, result = self._suite.result(self.name)
        if result.judgement.verdict is Verdict.ERROR:
            pytest.fail(details(run, result), pytrace=False)

    def runtest(self) -> None:
        run, result = self._suite.result(self.name)
        reason = result.judgement.reason
        match result.judgement.verdict:
            case Verdict.FAIL:
                pytest.fail(f"{reason}\n{details(run, result)}", pytrace=False)
            case Verdict.UNTESTABLE:
                pytest.fail(f"untestable: {reason}", pytrace=False)
            case Verdict.SKIP:
                pytest.skip(re.sub("--(?=[a-z])", "--tracker-", reason))
            case Verdict.WARN:
                with warnings.catch_warnings():
                    warnings.simplefilter("always", ShouldWarning)  # it has passed, whatever warnings are elsewhere
                    warnings.warn(f"{self._headline}\n{details(run, result)}", ShouldWarning, stacklevel=1)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        return self.path, None, self._headline  # no mere name: pytest takes the points of one for those of a path
