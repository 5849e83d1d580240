"""What a run of the suite is made of. All of it is plain data, so that a run can be saved, and judged again later."""

from enum import StrEnum
from typing import Any, Literal

import attrs

__all__ = [
    "FORMAT",
    "Entry",
    "Facts",
    "FailedError",
    "Judgement",
    "Kind",
    "Result",
    "Run",
    "SkippedError",
    "UntestableError",
    "Verdict",
    "demand",
]

FORMAT = 1
"""The version of a saved run; it changes when a member goes or means something else."""


class Verdict(StrEnum):
    """What became of a check."""

    PASS = "PASS"  # noqa: S105 - no password
    FAIL = "FAIL"  # a MUST is not met
    WARN = "WARN"  # a SHOULD is not met
    SKIP = "SKIP"  # it is not offered, or cannot be tried with these arguments
    UNTESTABLE = "UNTESTABLE"  # something failed that it needs
    ERROR = "HARNESS ERROR"  # the suite is wrong, not the server


Kind = Literal["open", "refused", "send", "receive", "close", "request", "response", "waited", "note"]


@attrs.frozen
class Entry:
    """One thing that happened.

    :ivar at_s: seconds since the check began.
    :ivar kind: ``waited`` is a wait that ended without what it was for.
    :ivar connection: which of the check's connections, from 1; 0 for none.
    :ivar text: what was sent or received, or the name of a note; abbreviated where it was sent and is long.
    :ivar data: what else is known, by kind: ``code`` and ``reason`` of a close, ``status`` and ``headers`` of a
        response, ``value`` of a note, ``bytes`` of what was abbreviated.
    """

    at_s: float
    kind: Kind
    connection: int
    text: str = ""
    data: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class Facts:
    """What a judge has to know besides the transcript.

    :ivar prefix: what every label of the check's events begins with; no other event has it.
    :ivar has_key: whether the server is said to have a key configured.
    """

    prefix: str
    has_key: bool


@attrs.frozen
class Judgement:
    """What a judge says.

    :ivar reason: of a skip, or in one line what is wrong.
    :ivar expected: in words, for a failure.
    :ivar received: in words, for a failure.
    """

    verdict: Verdict
    reason: str = ""
    expected: str = ""
    received: str = ""


@attrs.frozen
class Result:
    """One check, as it went.

    :ivar attempts: how often it was tried; more than once where a failure may have been a matter of time.
    :ivar failures: how many of these failed.
    :ivar entries: the transcript of the attempt that is judged.
    """

    check: str
    requirements: tuple[str, ...]
    title: str
    judgement: Judgement
    seconds: float
    attempts: int
    failures: int
    facts: Facts
    entries: tuple[Entry, ...]


@attrs.frozen
class Run:
    """A run of the suite: what a saved one holds.

    :ivar target: the URLs that were judged, by name, without what is secret in them.
    :ivar command: how it was started, without what selected the checks and without the reports; empty where it was no
        command.
    :ivar started: RFC 3339.
    :ivar latency_s: the time that one answer took, as measured at the beginning; 0 where nothing answered.
    :ivar problem: why it is not whole, in one line; empty for a run that came to its end.
    """

    format: int
    suite_version: str
    spec_version: str
    target: dict[str, str]
    command: str
    started: str
    seconds: float
    latency_s: float
    results: tuple[Result, ...]
    problem: str = ""


class FailedError(Exception):
    """A judge finds a requirement not met."""

    def __init__(self, expected: str, received: str) -> None:
        super().__init__(f"expected {expected}; received {received}")
        self.expected = expected
        self.received = received


class SkippedError(Exception):
    """A judge finds that something is not offered."""


class UntestableError(Exception):
    """A judge finds that something else went wrong, so that this was not put to the test."""


def demand(condition: object, expected: str, received: object) -> None:
    """Fail unless a condition holds.

    :raises FailedError: with what was expected, and what came.
    """
    if not condition:
        raise FailedError(expected, received if isinstance(received, str) else repr(received))
