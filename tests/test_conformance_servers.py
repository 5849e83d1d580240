"""The suite passes servers that conform: ours, in every way of running it, and one in another language."""

import json
import shutil
import subprocess
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import quote, quote_plus

import attrs
import pytest
import trio
import trustme
from tracker_conformance import Run, Target, Verdict, all_checks, judge_again, run_suite, select

from bench.events import made_up
from tests.support import Running, running
from wsproto_tracker.access import Key, Scope

KEY = "sesame-1234"
NODE = Path(__file__).parent / "backends" / "node"


def target_of(server: Running) -> Target:
    base = f"http://{server.address}{server.settings.base_path}"
    return Target(server.ws_url, f"{base}/events", base, f"{base}/ping", server.settings.api_key or "")


def told(run: Run, *verdicts: Verdict) -> list[str]:
    """What has one of these verdicts, in words."""
    return [
        f"{found.judgement.verdict} {found.check}: {found.judgement.reason}; received {found.judgement.received}"
        for found in run.results
        if found.judgement.verdict in verdicts
    ]


def skipped(run: Run) -> set[str]:
    return {found.check for found in run.results if found.judgement.verdict is Verdict.SKIP}


def needing(*uses: str) -> set[str]:
    return {check.name for check in all_checks() if set(uses) & set(check.uses)}


def about(*ids: str) -> set[str]:
    return {check.name for check in all_checks() if set(ids) & set(check.ids)}


UNSEEN = about("LIMIT-5", "LIMIT-6", "CLOSE-6")
"""What is skipped with our own settings, for these bounds are wide."""

KEYS = ("ingest_key", "query_key", "app_key")


@asynccontextmanager
async def full_server(path: Path) -> AsyncGenerator[Running, None]:
    """A server on a file, with a key, that holds events of other times and apps."""
    async with running(store=f"sqlite:{path}", api_key=KEY) as server:
        async with server.client(key=KEY) as client:
            texts = [text.decode() for text in made_up(20_000)]
            for start in range(0, len(texts), 1000):
                await client.send(f'{{"type":"ingest","events":[{",".join(texts[start : start + 1000])}]}}')
                await client.receive()
        yield server


BAD = (Verdict.FAIL, Verdict.WARN, Verdict.UNTESTABLE, Verdict.ERROR)


async def test_ours_without_a_key() -> None:
    """Empty, in memory, without a key: everything passes but what needs a key, and push is not switched off (SEC-4)."""
    async with running() as server:
        run = await run_suite(target_of(server))
    assert told(run, *BAD) == []
    assert skipped(run) == needing("api_key") | UNSEEN


@pytest.mark.parametrize("select_", ["LIMIT-5", "LIMIT-6", "CLOSE-6"])
async def test_ours_with_narrow_bounds(select_: str) -> None:
    """Where a bound is so narrow that it is seen, it is kept as the specification says (LIMIT-5, LIMIT-6, CLOSE-6)."""
    bounds = {"max_events_per_frame": 5500, "max_event_bytes": 1024 * 1024, "first_frame_timeout_s": 1.0}
    rates = {"max_event_rate": 5.0, "max_rate_delay_s": 0.01} if select_ == "LIMIT-6" else {}
    async with running(api_key=KEY, **bounds, **rates) as server:
        run = await run_suite(target_of(server), select(all_checks(), [select_]))
    assert told(run, *BAD, Verdict.SKIP) == []


ALL = frozenset(Scope)
APP = frozenset({"tracker-conformance"})
ORIGIN = ("http://localhost:5173",)


async def test_ours_with_keys() -> None:
    """Keys for everything, for sending from one page, for asking, and for one app: everything passes.

    (X-SCOPE-1, X-SCOPE-2, X-SCOPE-3, X-SCOPE-4, X-SCOPE-5, X-SCOPE-6.)
    """
    keys = (
        Key(name="sends", key="sends-1234", scopes=frozenset({Scope.INGEST}), origins=ORIGIN),
        Key(name="asks", key="asks-12345", scopes=frozenset({Scope.QUERY})),
        Key(name="app", key="shop-12345", scopes=ALL, apps=APP),
    )
    async with running(api_key=KEY, keys=keys) as server:
        sends, asks, app = (key.key for key in keys)
        target = attrs.evolve(target_of(server), ingest_key=sends, query_key=asks, app_key=app)
        run = await run_suite(target)
    assert told(run, *BAD) == []
    recorded = json.dumps(attrs.asdict(run))
    assert not any(key in recorded for key in (KEY, sends, asks, app))
    assert skipped(run) == needing("no_key") | UNSEEN | about("SEC-5")  # with a key, pages of all origins are let in


async def test_ours_with_one_app() -> None:
    """One key, for one app, which is the suite's: everything passes but what takes events of others (X-SCOPE-4)."""
    async with running(keys=(Key(name="shop", key=KEY, scopes=ALL, apps=frozenset({"shop"})),)) as server:
        run = await run_suite(attrs.evolve(target_of(server), api_key=KEY, app_key=KEY, app_id="shop"))
    assert told(run, *BAD) == []
    unneeded = needing("no_key", "ingest_key", "query_key") | UNSEEN | about("SEC-5", "X-SCOPE-5", "X-SCOPE-6")
    assert skipped(run) == unneeded | {"filters.equality-of-appId"}


@pytest.mark.parametrize("key", ["", KEY])
async def test_ours_with_other_pages(key: str) -> None:
    """An allow-list that lets in other pages than ``--origin`` names fails nothing (SEC-5)."""
    async with running(api_key=key or None, origins=("https://shop.example",)) as server:
        checks = select(all_checks(), ["cors", "origins"])
        run = await run_suite(target_of(server), checks)
        named = await run_suite(attrs.evolve(target_of(server), origin="https://shop.example"), checks)
    assert told(run, *BAD) == told(named, *BAD) == []
    assert {name for name in skipped(run) - skipped(named) if not name.startswith("cors.")} == set()
    assert skipped(named) == needing("no_key" if key else "api_key") & {check.name for check in checks}


async def test_ours_over_tls(tmp_path: Path) -> None:
    """Over ``wss:`` and ``https:``, with a certificate of a CA that only ``--ca`` knows, everything passes."""
    authority, ca, cert, key = trustme.CA(), *(tmp_path / f"{name}.pem" for name in ("ca", "cert", "key"))
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(ca))
    issued.private_key_pem.write_to_path(str(key))
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    async with running(api_key=KEY, tls_cert=cert, tls_key=key) as server:
        plain = target_of(server)
        urls = {
            name: getattr(plain, name).replace("http:", "https:").replace("ws:", "wss:")
            for name in ("ws_url", "write_url", "read_url", "ping_url")
        }
        run = await run_suite(attrs.evolve(plain, **urls, ca=str(ca)))
    assert told(run, *BAD) == []
    assert skipped(run) == needing("no_key", *KEYS) | UNSEEN | about("SEC-5", "X-SCOPE-6")


async def test_ours_with_a_key_and_deflate(tmp_path: Path) -> None:
    """Full, on a file, with a key, and every connection compressed as browsers do it: everything passes."""
    async with full_server(tmp_path / "tracker.db") as server:
        run = await run_suite(attrs.evolve(target_of(server), deflate=True))
    assert told(run, *BAD) == []
    assert skipped(run) == needing("no_key", *KEYS) | UNSEEN | about("SEC-5", "X-SCOPE-6")
    again = judge_again(run)
    assert [found.judgement for found in again.results] == [found.judgement for found in run.results]


async def test_odd_key() -> None:
    """A key of characters that JSON and URLs spell otherwise works, and is in no transcript, however it is spelled."""
    key = 'k y&"ü+/9%'
    async with running(api_key=key) as server:
        run = await run_suite(target_of(server))
    assert told(run, *BAD) == []
    recorded = json.dumps(attrs.asdict(run), ensure_ascii=False)
    for form in (key, quote(key), quote_plus(key), json.dumps(key)[1:-1], json.dumps(key, ensure_ascii=False)[1:-1]):
        assert form not in recorded
        assert json.dumps(form, ensure_ascii=False)[1:-1] not in recorded


async def test_read_only() -> None:
    """With ``read_only`` nothing is saved."""
    async with running() as server:
        run = await run_suite(attrs.evolve(target_of(server), read_only=True))
        async with server.client() as client:
            await client.send('{"type":"events:query","reqId":"r","query":{}}')
            answer = await client.receive()
    assert told(run, *BAD) == []
    assert answer["response"]["total"] == 0
    assert {check.name for check in all_checks() if check.writes} <= skipped(run)
    assert len(skipped(run)) < len(run.results)


@contextmanager
def node_backend(*arguments: str) -> Iterator[int]:
    with subprocess.Popen(["node", str(NODE / "server.mjs"), *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline().rsplit(" ", 1)[1])
        finally:
            process.terminate()


@pytest.mark.skipif(
    not (shutil.which("node") and (NODE / "node_modules" / "ws").exists()),
    reason="needs Node with ws: npm install --prefix tests/backends/node",
)
@pytest.mark.parametrize("key", ["", KEY])
async def test_node_backend(key: str) -> None:
    """A backend in another language, written from the specification alone, passes; it offers no extension."""
    with node_backend(*(("--key", key) if key else ())) as port:
        base = f"http://127.0.0.1:{port}"
        run = await run_suite(
            Target(f"ws://127.0.0.1:{port}/ws", f"{base}/events", f"{base}/events", f"{base}/ping", key)
        )
    assert told(run, *BAD) == []
    expected = UNSEEN | (needing("no_key", *KEYS) | about("SEC-5") if key else needing("api_key"))
    offered = {found.check: found.requirements[0] for found in run.results if found.check not in expected}
    unexpected = {name for name in skipped(run) - expected if not offered[name].startswith(("X-", "PUSH-"))}
    assert unexpected == set()


async def test_cancelled() -> None:
    """A run that is cancelled ends at once."""
    async with running() as server:
        with trio.fail_after(5), trio.move_on_after(0.4) as scope:
            await run_suite(target_of(server))
        assert scope.cancelled_caught
        async with server.client() as client:
            assert (await client.ask({"type": "ping"})) == {"type": "pong"}
