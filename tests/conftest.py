"""Fixtures, and a deadline on every test."""

import faulthandler
from collections.abc import AsyncGenerator, Generator

import pytest
from hypothesis import settings as hypothesis_settings

from tests.store_support import Disk
from tests.support import Running, running

DEADLINE_S = 300  # a slow machine is no fault

hypothesis_settings.register_profile("default", deadline=None, print_blob=True)
hypothesis_settings.load_profile("default")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options for the long forms of tests."""
    parser.addoption("--crashes", type=int, default=4, help="how often test_crash.py kills the server")
    parser.addoption("--events", type=int, default=20_000, help="how many events test_clients.py asks for")
    parser.addoption("--tiny-frames", type=int, default=100_000, help="how many frames test_hostile.py sends at once")
    parser.addoption("--client-runs", type=int, default=6, help="how many runs test_client_faults.py makes")
    parser.addoption("--cluster-runs", type=int, default=2, help="how many runs test_cluster_faults.py makes")
    parser.addoption("--cluster-seed", type=int, help="the choices of test_cluster_faults.py, as a run printed them")
    parser.addoption(
        "--seed", type=int, help="the choices of test_crash.py or test_client_faults.py, as a run printed them"
    )


@pytest.fixture(autouse=True)
def _deadline(request: pytest.FixtureRequest) -> Generator[None, None, None]:
    """Nothing may hang: say where, and end."""
    rounds = max(request.config.getoption("--crashes"), request.config.getoption("--client-runs"))
    longest_s = max(DEADLINE_S, 10 * rounds, 60 * request.config.getoption("--cluster-runs"))
    faulthandler.dump_traceback_later(longest_s, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
async def server() -> AsyncGenerator[Running, None]:
    """A server that needs no key."""
    async with running() as it:
        yield it


@pytest.fixture
async def locked() -> AsyncGenerator[Running, None]:
    """A server with the key ``s3cret``."""
    async with running(api_key="s3cret") as it:
        yield it


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """The disk of every store that is opened in the test."""
    return Disk(monkeypatch)
