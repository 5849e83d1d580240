"""The errors, and the closed list of codes."""

import re
from http import HTTPStatus

import pytest

from tests.support import SPEC
from wsproto_tracker.errors import HTTP_STATUS, ConfigurationError, ErrorCode, FrameError, ServeError, TrackerError


def table() -> dict[str, int]:
    """The table of section 8: every code and its HTTP status."""
    section = (SPEC / "SPEC.md").read_text("utf-8").split("\n## 8. ")[1].split("\n## 9. ")[0]
    rows = re.findall(r"^\| `(\w+)` \| .+ \| (\d{3}) \|$", section, re.MULTILINE)
    assert len(rows) == section.count("\n| `") - section.count("\n| `code` |")
    return {code: int(status) for code, status in rows}


def test_the_codes_are_those_of_the_specification() -> None:
    """The codes and their HTTP statuses are those of the specification's table, no more and no fewer (ERR-2)."""
    assert {code.value: status for code, status in HTTP_STATUS.items()} == table()
    assert [code.value for code in ErrorCode] == list(table())


@pytest.mark.parametrize("code", ErrorCode)
def test_a_code_is_an_error_over_http(code: ErrorCode) -> None:
    """Every code has a status that exists and is no success, so nothing that failed looks saved (HTTP-3)."""
    assert HTTPStatus(HTTP_STATUS[code]) >= HTTPStatus.BAD_REQUEST


def test_a_frame_error_says_what_the_peer_is_told() -> None:
    """A ``FrameError`` carries the code, the message and the ``reqId`` of the answer (ERR-1, ERR-2, ERR-3)."""
    error = FrameError(ErrorCode.BAD_QUERY, "query.since: missing", "r1")
    assert (error.code, error.message, error.req_id, str(error)) == ("bad_query", error.message, "r1", error.message)
    assert FrameError(ErrorCode.BAD_JSON, "").req_id is None


@pytest.mark.parametrize("family", [ConfigurationError, FrameError, ServeError])
def test_errors_are_one_family(family: type[Exception]) -> None:
    """Whoever wants every error of this package catches ``TrackerError``, and none is another's (CONN-7)."""
    assert issubclass(family, TrackerError)
    others = {ConfigurationError, FrameError, ServeError} - {family}
    assert not any(issubclass(family, other) for other in others)
