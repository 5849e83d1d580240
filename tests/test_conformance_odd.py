"""The suite finds nothing in servers that are right, however odd."""

import pytest
import trio
from tracker_conformance import Run, Verdict, all_checks, select

from tests.conformance.mutants import KEY
from tests.conformance.odd_servers import ODD_SERVERS, Bare, Distant, Fragments, Impatient
from tests.conformance.reference import Reference
from tests.conformance.trial import tried, verdicts

_AT_ONCE = 3
_LARGE = ("LIMIT-*",)  # they take long, and are tried on the reference server
_DEFLATED = (Fragments, Distant)
_PATIENCE: dict[type[Reference], float] = {Distant: 1.0}
WARNED: dict[type[Reference], dict[str, str]] = {
    Bare: {"connection.agrees-to-deflate": "it offers no permessage-deflate, which is only recommended (CONN-3)"},
}
_SERVERS: tuple[type[Reference], ...] = (Reference, *ODD_SERVERS)
_SETTINGS = [(Reference, ""), *((server, KEY) for server in _SERVERS)]


@pytest.fixture(scope="module")
def runs() -> dict[tuple[type[Reference], str], Run]:
    """A few at a time, for they wait often."""
    found: dict[tuple[type[Reference], str], Run] = {}
    limiter = trio.CapacityLimiter(_AT_ONCE)

    async def run(server: type[Reference], key: str) -> None:
        checks = all_checks() if server is Reference else select(all_checks(), excluded=_LARGE)
        async with limiter:
            found[server, key] = await tried(
                server(key), key, checks, patience=_PATIENCE.get(server, 0.4), deflate=server in _DEFLATED
            )

    async def run_all() -> None:
        async with trio.open_nursery() as nursery:
            for server, key in _SETTINGS:
                nursery.start_soon(run, server, key)

    trio.run(run_all)
    return found


def _name(value: object) -> str:
    return value if isinstance(value, str) else getattr(value, "__name__", "")


@pytest.mark.parametrize(("server", "key"), _SETTINGS, ids=_name)
def test_nothing_is_found(runs: dict[tuple[type[Reference], str], Run], server: type[Reference], key: str) -> None:
    run, warned = runs[server, key], WARNED.get(server, {})
    found = verdicts(run)
    told = {
        result.check: str(result.judgement)
        for result in run.results
        if found[result.check] not in (Verdict.PASS, Verdict.SKIP) and result.check not in warned
    }
    assert told == {}
    assert {name for name, verdict in found.items() if verdict is Verdict.WARN} == set(warned)


@pytest.mark.parametrize(("server", "key"), _SETTINGS, ids=_name)
def test_what_is_offered_is_tried(
    runs: dict[tuple[type[Reference], str], Run], server: type[Reference], key: str
) -> None:
    """Only what a server does not offer is skipped, so that no check passes by not being tried."""
    skipped = {name for name, verdict in verdicts(runs[server, key]).items() if verdict is Verdict.SKIP}
    unused = "api_key" if not key else "no_key"
    allowed = {check.name for check in all_checks() if unused in check.uses}
    if key and server is not Impatient:
        allowed |= {"errors.leaves-the-silent-with-1000"}  # it does so only where it is asked to
    if server is not Bare:
        assert skipped == allowed
