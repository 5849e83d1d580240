"""``keys new``: what it prints is a table that ``serve`` takes, with a key that nobody can guess."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.command import Ended, run, serving
from tests.support import event, ingest, query
from wsproto_tracker.access import Key, Scope
from wsproto_tracker.cli import main
from wsproto_tracker.settings import load_settings

NOT_SURROGATES = st.characters(exclude_categories=["Cs"])


async def made(*arguments: str) -> str:
    """What it prints, and nothing but that."""
    told = await run("keys", "new", *arguments)
    assert told.is_clean, told.errors
    return told.output


def read(tmp_path: Path, *tables: str) -> tuple[Key, ...]:
    """The keys of a file into which these were pasted."""
    file = tmp_path / "tracker.toml"
    file.write_text("port = 4243\n\n" + "\n".join(tables), "utf-8")
    return load_settings({}, {}, file).keys


class TestNew:
    async def test_of_a_page(self, tmp_path: Path) -> None:
        """Without options it is a key for pages, which can be read by everybody: it sends, at a bounded rate."""
        (key,) = read(tmp_path, await made())
        assert (key.name, key.scopes, key.apps, key.origins) == ("ingest", frozenset([Scope.INGEST]), None, None)
        assert key.rate == 1000
        assert len(key.key) >= 32

    async def test_of_a_dashboard(self, tmp_path: Path) -> None:
        """A key for asking has no rate."""
        (key,) = read(tmp_path, await made("--scope", "query", "--app", "shop", "--app", "blog", "--app", "shop"))
        assert (key.name, key.scopes, key.rate) == ("shop-blog-query", frozenset([Scope.QUERY]), None)
        assert key.apps == frozenset(["shop", "blog"])

    async def test_of_both(self, tmp_path: Path) -> None:
        """Scopes may be combined, and the name chosen."""
        (key,) = read(tmp_path, await made("--scope", "query", "--scope", "ingest", "--name", "my.key_1"))
        assert (key.name, key.scopes, key.rate) == ("my.key_1", frozenset(Scope), 1000)

    async def test_another_each_time(self, tmp_path: Path) -> None:
        """No key comes twice, and the keys of a page and of its dashboard can stand in one file."""
        page, dashboard = await made("--app", "shop"), await made("--app", "shop", "--scope", "query")
        assert len({key.key for key in read(tmp_path, page, dashboard)}) == 2
        assert await made("--app", "shop") != page

    async def test_served(self, tmp_path: Path) -> None:
        """What is pasted into the file of ``serve`` does there what it is for (X-SCOPE-1, X-SCOPE-2, X-SCOPE-4)."""
        page, dashboard = read(tmp_path, await made("--app", "shop"), await made("--app", "shop", "--scope", "query"))
        async with serving("--config", str(tmp_path / "tracker.toml")) as it:
            async with it.running.client(key=page.key) as client:
                ack = await client.ask(ingest(event(appId="shop"), event(appId="blog")))
                assert (ack["saved"], len(ack["rejected"])) == (1, 1)
                assert (await client.ask(query()))["code"] == "forbidden"
            async with it.running.client(key=dashboard.key) as client:
                assert len(await client.events()) == 1
                assert (await client.ask(ingest(event())))["code"] == "forbidden"
            ended = await it.stop()
        assert ended.is_clean, ended.errors
        assert page.key not in ended.output
        assert "The keys are shop-ingest (ingest), shop-query (query)." in ended.output

    @given(st.lists(st.text(NOT_SURROGATES, min_size=1).filter(lambda app: not app.startswith("-")), max_size=3))
    def test_any_app(self, apps: list[str]) -> None:
        """Whatever an app is called, the file says just that."""
        with pytest.MonkeyPatch.context() as patch:
            printed: list[str] = []
            patch.setattr("builtins.print", printed.append)
            assert main(["keys", "new", *(word for app in apps for word in ("--app", app))]) == 0
        (table,) = tomllib.loads("\n".join(printed))["keys"]
        assert set(table.get("apps", [])) == set(apps)


class TestWrongInput:
    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (("--scope", "write"), "--scope: expected ingest or query; for both, give it twice"),
            (("--scope", "ingest,query"), "--scope: expected ingest or query; for both, give it twice"),
            (("--name", "my key"), "--name: expected a name of letters, digits and . _ -, for logs and metrics"),
            (("--name", ""), "--name: expected a name of letters, digits and . _ -, for logs and metrics"),
            (("--app", ""), "--app: expected an appId, in UTF-8"),
            (("--app", "cut \udcff"), "--app: expected an appId, in UTF-8"),
        ],
    )
    async def test_values(self, arguments: tuple[str, ...], told: str) -> None:
        """A wrong value ends with 2, and what would be right; nothing is printed that could be pasted."""
        assert await run("keys", "new", *arguments) == Ended(2, "", f"wsproto-tracker: {told}\n")

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (("new", "--scopes", "query"), "--scopes: no such option; did you mean --scope?"),
            (("new", "shop"), "expected options only, such as --name"),
            (("new", "--name"), "argument --name: expected one argument"),
            ((), "the following arguments are required: ACTION"),
            (("old",), "invalid choice"),
        ],
    )
    async def test_usage(self, arguments: tuple[str, ...], told: str) -> None:
        """So does what is no option and no action."""
        refused = await run("keys", *arguments)
        assert (refused.status, refused.output) == (2, "")
        assert told in refused.errors

    async def test_same_name_twice(self, tmp_path: Path) -> None:
        """Two keys of one name are told when the file is read, without either key."""
        keys = [await made(), await made()]
        (tmp_path / "tracker.toml").write_text("".join(keys), "utf-8")
        refused = await run("serve", "--config", str(tmp_path / "tracker.toml"))
        assert refused.status == 2
        assert "keys[1].name: the same as that of [0]; expected another" in refused.errors


async def test_help() -> None:
    """The help has an example for the page and one for the dashboard."""
    told = await run("keys", "new", "--help")
    assert told.is_clean
    assert "for the build of the page" in told.output
    assert "for the build of the dashboard" in told.output
