"""The pytest plugin, in a pytest of its own: beside other tests, pytest-trio, and warnings that are errors."""

import re
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.command import Ended, run
from tests.conformance.mutants.connection import NoDeflate
from tests.conformance.reference import running as running_reference
from tests.support import Running, running

PYTEST = (sys.executable, "-m", "pytest", "-v")
INI = """
[pytest]
trio_mode = true
filterwarnings = error
addopts = --strict-markers --strict-config -ra
"""
OWN_TESTS = """
import trio

def test_plain():
    pass

async def test_trio():
    await trio.sleep(0)
"""
NOTHING_IMPORTED = """
import sys

def test_modules():
    found = {name for name in sys.modules if name.partition(".")[0] in ("tracker_conformance", "rich", "websockets")}
    assert found == {"tracker_conformance", "tracker_conformance.plugin"}
"""

pytestmark = pytest.mark.skipif(
    not [found for found in entry_points(group="pytest11") if found.name == "tracker-conformance"],
    reason="needs the package to be installed: pip install -e .",
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Somebody's project, with tests of its own."""
    (tmp_path / "pytest.ini").write_text(INI, "utf-8")
    (tmp_path / "test_own.py").write_text(OWN_TESTS, "utf-8")
    return tmp_path


async def in_pytest(project: Path, *arguments: str, variables: dict[str, str] | None = None) -> Ended:
    """Run pytest in a project."""
    return await run(*arguments, command=PYTEST, directory=project, variables=variables)


def outcomes(ended: Ended) -> dict[str, str]:
    """The outcome of each of the suite's tests."""
    return dict(re.findall(r"^tracker::(\S+) ([A-Z]+)", ended.output, re.MULTILINE))


async def test_without(tmp_path: Path) -> None:
    """Without a URL it does nothing, and imports nothing of the suite."""
    (tmp_path / "test_modules.py").write_text(NOTHING_IMPORTED, "utf-8")
    ended = await in_pytest(tmp_path, "-p", "no:trio")
    assert ended.status == 0, ended.output
    assert "1 passed" in ended.output


async def test_conformant(server: Running, project: Path) -> None:
    """Each check is a test, beside those that are there; what cannot be tried is skipped, and says why."""
    ended = await in_pytest(
        project, "--tracker-url", server.ws_url, "--tracker-select", "basics,frames.survives-binary"
    )
    assert ended.status == 0, ended.output
    assert outcomes(ended) == {
        "basics.connects": "PASSED",
        "basics.authenticates": "SKIPPED",
        "basics.round-trip": "PASSED",
        "frames.survives-binary": "PASSED",
    }
    assert "test_own.py::test_trio PASSED" in ended.output
    assert "needs --tracker-api-key-env" in ended.output
    assert "5 passed, 1 skipped" in ended.output


async def test_nothing_tried(server: Running, project: Path) -> None:
    """Where every check is skipped, the session is no success."""
    ended = await in_pytest(project, "--tracker-url", server.ws_url, "--tracker-select", "cors")
    assert ended.status == 1, ended.output
    assert set(outcomes(ended).values()) == {"SKIPPED"}


async def test_key(project: Path) -> None:
    """With a key, which is nowhere to be read."""
    async with running(api_key="s3cret") as server:
        ended = await in_pytest(
            project,
            *("--tracker-url", server.ws_url, "--tracker-write-url", f"http://{server.address}/nowhere"),
            *("--tracker-api-key-env", "TRACKER_KEY", "--tracker-select", "basics,http", "--tracker-level", "must"),
            variables={"TRACKER_KEY": "s3cret"},
        )
    assert outcomes(ended)["basics.authenticates"] == "PASSED"
    assert "FAILED" in outcomes(ended).values()
    assert "--api-key-env TRACKER_KEY" in ended.output
    assert "s3cret" not in ended.output + ended.errors


async def test_failure(server: Running, project: Path) -> None:
    """A failure tells all, without a traceback; what needs it fails with it; ``-m`` and ``-k`` select."""
    ended = await in_pytest(
        project,
        *("--tracker-url", server.ws_url, "--tracker-write-url", f"http://{server.address}/nowhere"),
        *("-m", "tracker", "-k", "takes-batches or takes-plain-text"),
        *("--tracker-select", "http", "--tracker-timeout-scale", "0.5"),
    )
    assert ended.status == 1
    assert outcomes(ended)["http.takes-batches"] == "FAILED"
    assert outcomes(ended)["http.takes-plain-text"] == "FAILED"
    assert "test_own.py" not in ended.output
    assert "untestable: http.takes-batches has to pass first" in ended.output
    assert "FAILED tracker::http.takes-batches - Failed: expected " in ended.output
    for expected in ("HTTP-1  A server MUST ", "expected  ", "received  ", " sent POST http://", "alone  tracker-conf"):
        assert expected in ended.output
    assert "Traceback" not in ended.output
    assert ".py:" not in ended.output.partition(" FAILURES ")[2].partition(" short test summary ")[0]


async def test_warning(project: Path) -> None:
    """A SHOULD that is not met is a warning of a test that passes, though warnings are errors."""
    async with running_reference(NoDeflate()) as urls:
        ended = await in_pytest(project, "--tracker-url", urls.ws, "--tracker-select", "connection.agrees-to-deflate")
    assert ended.status == 0, ended.output
    assert "3 passed, 1 warning" in ended.output
    assert "tracker::connection.agrees-to-deflate" in ended.output.partition("warnings summary")[2]
    assert "ShouldWarning: connection.agrees-to-deflate: Agrees to permessage-deflate" in ended.output
    assert "CONN-3  A server SHOULD agree" in ended.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--tracker-url", "http://h/ws"], "ERROR: --tracker-url: expected a WebSocket URL, ws:// or wss://, such as "),
        (["--tracker-select", "frame"], "ERROR: --tracker-select: frame matches no check; did you mean frames?"),
        (["--tracker-api-key-env", "NO_KEY"], "ERROR: --tracker-api-key-env: NO_KEY is not set; "),
        (["--tracker-write-url", "h"], "ERROR: --tracker-write-url: expected an HTTP URL, "),
        (["--tracker-query-key-env", "NO_KEY"], "ERROR: --tracker-query-key-env: NO_KEY is not set; "),
        (["--tracker-origin", "h"], "ERROR: --tracker-origin: expected the origin of a page, "),
        (["--tracker-ca", "no.pem"], "ERROR: --tracker-ca: no.pem: cannot be read: "),
    ],
)
async def test_wrong_options(project: Path, arguments: list[str], told: str) -> None:
    """Wrong options are refused as pytest refuses its own."""
    url = [] if "--tracker-url" in arguments else ["--tracker-url", "ws://127.0.0.1:1/ws"]
    ended = await in_pytest(project, *url, *arguments)
    assert (ended.status, ended.output) == (4, "")
    assert ended.errors.startswith(told)


async def test_unreachable(project: Path) -> None:
    """Where nobody listens, each test has an error that says so; other tests go on."""
    url = "ws://127.0.0.1:1/ws"
    ended = await in_pytest(project, "--tracker-url", url, "--tracker-select", "basics")
    assert ended.status == 1
    assert set(outcomes(ended).values()) == {"ERROR"}
    assert f"nobody listens: {url}: " in ended.output
    assert "2 passed, 3 errors" in ended.output


async def test_collect_only(project: Path) -> None:
    """To list the tests no server is asked."""
    ended = await in_pytest(project, "--tracker-url", "ws://127.0.0.1:1/ws", "--collect-only", "-qq", "-m", "tracker")
    assert ended.status == 0
    assert "tracker::basics.connects\ntracker::basics.authenticates\n" in ended.output
    assert "tracker: " not in ended.errors
