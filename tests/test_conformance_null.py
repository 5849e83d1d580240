"""What the suite lets servers pass that do nothing right. Each such check is here, with the reason why that is well."""

import pytest
import trio
from tracker_conformance import Run, Verdict, all_checks

from tests.conformance.mutants import KEY
from tests.conformance.null_servers import (
    NULL_SERVERS,
    AcksAll,
    ClosesAtOnce,
    Constant,
    Echo,
    EmptyObjects,
    ErrorToAll,
    Silent,
)
from tests.conformance.reference import Reference
from tests.conformance.trial import tried, verdicts
from tests.support import ROOT

_PATIENCE = 0.1
_OPEN = {
    "basics.connects": "it does complete the handshake",
    "errors.no-1008-for-silence": "it does not close a connection that says nothing",
}
_PINGS = {
    "http-read.answers-pings": "a ping asks for nothing but a 2xx",
    "http-read.answers-head-of-pings": "and HEAD for no more than that",
}
_KEYLESS_PINGS = {"http-read.answers-pings-without-the-key": "it asks nobody for a key"}
_TAKES_ANY_KEY = {
    "basics.authenticates": "it takes every key, so the right one too; it fails where a wrong one has to be refused",
    "errors.tells-no-key": "it says the same to all, so it repeats no key",
    "http.takes-the-key-in-the-header": "it takes every key, so the right one too",
    "http-read.takes-the-key-in-the-header": "it takes every key, so the right one too",
}
_NO_KEY = {"auth.any-key-where-none-is-configured": "it answers every auth with auth_ok, which is right without a key"}

PASSED: dict[tuple[type[Reference], str], dict[str, str]] = {
    (Silent, ""): _OPEN,
    (Silent, KEY): _OPEN,
    (Constant, ""): _OPEN | _PINGS,
    (Constant, KEY): _OPEN | _PINGS | _KEYLESS_PINGS,
    (Echo, ""): _OPEN | _PINGS,
    (Echo, KEY): _OPEN | _PINGS | _KEYLESS_PINGS,
    (ClosesAtOnce, ""): {},
    (ClosesAtOnce, KEY): {},
    (ErrorToAll, ""): _OPEN,
    (ErrorToAll, KEY): _OPEN,
    (AcksAll, ""): _OPEN | _PINGS | _NO_KEY,
    (AcksAll, KEY): _OPEN | _PINGS | _KEYLESS_PINGS | _TAKES_ANY_KEY,
    (EmptyObjects, ""): {},
    (EmptyObjects, KEY): {},
}


@pytest.fixture(scope="module")
def runs() -> dict[tuple[type[Reference], str], Run]:
    """All of them side by side, for they wait most of the time."""
    found: dict[tuple[type[Reference], str], Run] = {}

    async def run(server: type[Reference], key: str) -> None:
        found[server, key] = await tried(server(key), key, patience=_PATIENCE)

    async def run_all() -> None:
        async with trio.open_nursery() as nursery:
            for server, key in PASSED:
                nursery.start_soon(run, server, key)

    trio.run(run_all)
    return found


def _name(value: object) -> str:
    return value if isinstance(value, str) else getattr(value, "__name__", "")


@pytest.mark.parametrize(("server", "key"), PASSED, ids=_name)
def test_passes_only_what_is_founded(
    runs: dict[tuple[type[Reference], str], Run], server: type[Reference], key: str
) -> None:
    found = verdicts(runs[server, key])
    assert {name for name, verdict in found.items() if verdict is Verdict.PASS} == set(PASSED[server, key])
    assert Verdict.ERROR not in found.values()


@pytest.mark.parametrize(("server", "key"), PASSED, ids=_name)
def test_does_not_conform(runs: dict[tuple[type[Reference], str], Run], server: type[Reference], key: str) -> None:
    assert Verdict.FAIL in verdicts(runs[server, key]).values()


def readme_lines() -> list[str]:
    """What ``conformance/README.md`` tells of this."""
    lines = ["| a server that | passes |", "|---|---|"]
    reasons: dict[str, str] = {}
    for server in NULL_SERVERS:
        passed = PASSED[server, ""] | PASSED[server, KEY]
        told = (server.__doc__ or "").strip().removesuffix(".")
        lines.append(f"| {told[0].lower()}{told[1:]} | {', '.join(passed) or 'nothing'} |")
        reasons |= passed
    return [*lines, "", *(f"- `{name}`: {why}" for name, why in reasons.items())]


def test_readme_tells_it() -> None:
    assert "\n".join(readme_lines()) in (ROOT / "conformance" / "README.md").read_text("utf-8")


def test_every_null_server_is_tried() -> None:
    assert {server for server, _ in PASSED} == set(NULL_SERVERS)
    names = {check.name for check in all_checks()}
    assert {name for passed in PASSED.values() for name in passed} <= names
