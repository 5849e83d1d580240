"""What a person types who has a cluster, as processes: serving, erasing, and what goes wrong with either."""

import sys
from collections.abc import Generator
from pathlib import Path

import pytest
import trio

from tests.command import run, serving
from tests.nats_support import NatsServers, kept_servers, needs_nats
from tests.support import event, ingest
from wsproto_tracker.protocol.ids import new_id

pytestmark = needs_nats

WITHOUT_NATS = """
import sys
sys.modules["nats"] = None
sys.argv[0] = "wsproto-tracker"
from wsproto_tracker.cli import main
sys.exit(main())
"""


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Generator[NatsServers, None, None]:
    with kept_servers(tmp_path_factory.mktemp("nats"), 1, sync_always=False) as servers:
        yield servers


@pytest.fixture
def url(nats: NatsServers) -> str:
    return f"{nats.urls}/T{new_id()}?replicas=1&max_bytes=10000000"


async def test_erased_everywhere(url: str, tmp_path: Path) -> None:
    """``serve`` names its file and the cluster; ``store erase`` reaches every node, and each node's file is its own."""
    options = ("--durability", "replicated", "--store", url, "--local")
    async with serving(*options, str(tmp_path / "a.db")) as a, serving(*options, str(tmp_path / "b.db")) as b:
        shown = f"in {tmp_path / 'a.db'}, as every node of {url.partition('?')[0]} does"
        assert shown in a.output
        async with a.running.client() as one, b.running.client() as other:
            await one.ask(ingest(event(id="1", userId="ann"), event(id="2", userId="bob")))
            assert len(await other.events()) == 2
            ended = await run("store", "erase", "--store", url, "--user", "ann")
            assert ended.is_clean, ended
            assert "every node erases the events of user ann that were acked before" in ended.output
            with trio.fail_after(10):
                while [found["id"] for found in await other.events()] != ["2"]:
                    await trio.sleep(0.01)
            assert [found["id"] for found in await one.events()] == ["2"]
        info = await run("store", "info", "--store", f"sqlite:{tmp_path / 'b.db'}")
        assert info.is_clean
        assert (await a.stop()).is_clean
        assert (await b.stop()).is_clean
    alone = await run("serve", "--port", "0", "--store", f"sqlite:{tmp_path / 'a.db'}")
    assert (alone.status, alone.output) == (1, "")
    assert "this file is of a node of the cluster with the stream T" in alone.errors


async def test_what_goes_wrong(url: str, nats: NatsServers, tmp_path: Path) -> None:
    """Each mistake is told in a line, with what would be right."""
    local = ("--local", str(tmp_path / "a.db"))
    for arguments, status, told in [
        (("serve", "--store", url, "--durability", "normal"), 2, "expected full or replicated"),
        (("serve", "--store", url, *local), 1, "expected replicas=3, or --durability replicated"),
        (("serve", *local), 2, "--local: expected a store nats://"),
        (("serve", "--durability", "replicated"), 2, "replicated is for a store nats://"),
        (("store", "erase", "--store", f"{nats.urls}/Nowhere", "--user", "ann"), 1, "there is no such stream"),
        (("store", "erase", "--store", "nats://127.0.0.1:1/S", "--user", "ann"), 1, "nats://127.0.0.1:1/S: "),
    ]:
        ended = await run(*arguments)
        assert (ended.status, ended.output) == (status, ""), ended
        assert told in ended.errors
        assert len(ended.errors.splitlines()) == 1, ended.errors


async def test_without_the_client(url: str) -> None:
    """Without the extra, it says which to install."""
    for arguments in (("serve", "--store", url), ("store", "erase", "--store", url, "--user", "ann")):
        ended = await run(*arguments, command=(sys.executable, "-c", WITHOUT_NATS))
        assert (ended.status, ended.output) == (2, "")
        assert "pip install 'wsproto-tracker[cluster]'" in ended.errors
