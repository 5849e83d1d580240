"""The suite's connections: both libraries over TLS, and bytes that need not be right beside what a library sends."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
import trustme
from tracker_conformance import Target, UnreachableError, Verdict, all_checks, run_suite, select
from tracker_conformance.connections import Shared
from trio.testing import memory_stream_pair

from tests.conformance.reference import Reference

SELECTED = ("basics", "connection", "http.takes-batches", "http-read.reads")


@asynccontextmanager
async def over_tls(authority: trustme.CA) -> AsyncIterator[Target]:
    """The reference server, behind a certificate of an authority that nobody knows."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    serve = partial(trio.serve_ssl_over_tcp, Reference().serve, 0, context, host="127.0.0.1", https_compatible=True)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(serve)
        address = f"127.0.0.1:{listeners[0].transport_listener.socket.getsockname()[1]}"
        base = f"https://{address}"
        yield Target(f"wss://{address}/ws", f"{base}/ingest", f"{base}/events", f"{base}/ping", timeout_scale=0.4)
        nursery.cancel_scope.cancel()


def pem_of(authority: trustme.CA, file: Path) -> str:
    authority.cert_pem.write_to_path(str(file))
    return str(file)


@pytest.mark.parametrize("deflate", [False, True])
async def test_over_tls(tmp_path: Path, deflate: bool) -> None:
    """With the certificate of its CA, a server is judged over TLS by both libraries, and over HTTP."""
    authority = trustme.CA()
    async with over_tls(authority) as target:
        trusting = attrs.evolve(target, ca=pem_of(authority, tmp_path / "ca.pem"), deflate=deflate)
        run = await run_suite(trusting, select(all_checks(), SELECTED))
    verdicts = {result.check: result.judgement.verdict for result in run.results}
    assert {name for name, verdict in verdicts.items() if verdict is not Verdict.PASS} == {"basics.authenticates"}


@pytest.mark.parametrize("knows_another", [False, True])
async def test_unknown_authority(tmp_path: Path, knows_another: bool) -> None:
    """Without it, or with that of another CA, the server cannot be reached, and the reason is told."""
    async with over_tls(trustme.CA()) as target:
        ca = pem_of(trustme.CA(), tmp_path / "ca.pem") if knows_another else ""
        with pytest.raises(UnreachableError, match=r"TLS: .*certificate verify failed"):
            await run_suite(attrs.evolve(target, ca=ca), select(all_checks(), ["basics.connects"]))


async def test_one_after_the_other() -> None:
    """What two tasks send at the same time goes out one after the other, and neither fails (CONN-7)."""
    near, far = memory_stream_pair()
    deliver = near.send_stream.send_all_hook
    assert deliver is not None

    async def deliver_late() -> None:
        await trio.sleep(0.01)
        await deliver()

    near.send_stream.send_all_hook = deliver_late
    stream = Shared(near)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for data in (b"aaaa", b"bbbb", b"cccc"):
                nursery.start_soon(stream.send_all, data)
        received = bytes(await far.receive_some(100))
    assert sorted(received[start : start + 4] for start in (0, 4, 8)) == [b"aaaa", b"bbbb", b"cccc"]
