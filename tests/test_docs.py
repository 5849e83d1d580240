"""The pages under docs/ say what is so."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from docs import generate
from tests.command import run
from tests.conftest import pytest_addoption
from tests.pages import blocks, shown
from tests.support import ROOT
from wsproto_tracker import Address, Settings
from wsproto_tracker.access import Key, Scope
from wsproto_tracker.cli import command_line
from wsproto_tracker.cli.serve import greeting
from wsproto_tracker.settings import flag, load_settings, options, variable

LIMITS = (ROOT / "docs" / "limits.md").read_text("utf-8")
ROWS = dict(re.findall(r"^\| `(--[a-z-]+)` \| (`[^`]*`|none) \|", LIMITS, re.M))
DOCS = ROOT / "docs"
GETTING_STARTED = DOCS / "getting-started.md"
ARCHITECTURE = (DOCS / "architecture.md").read_text("utf-8")
CONTRIBUTING = (DOCS / "contributing.md").read_text("utf-8")
NOT_LIMITS = {"max_events", "max_age", "max_bytes", "drain_timeout_s"}  # of what is kept, and of the end


@pytest.mark.parametrize(
    "option",
    [
        option
        for option in options()
        if (option.name.startswith("max_") or option.name.endswith("_timeout_s")) and option.name not in NOT_LIMITS
    ],
    ids=lambda option: option.name,
)
def test_limits(option: Any) -> None:
    """Every limit is there, with its default."""
    assert ROWS[flag(option.name)].strip("`") == ("none" if option.default is None else str(option.default))


def test_no_other_limits() -> None:
    """There is none that is no option."""
    assert set(ROWS) <= {flag(option.name) for option in options()}


def test_file_for_the_internet(tmp_path: Path) -> None:
    """The file on the page on operations is one, and lets pages send and the dashboard ask."""
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    (file,) = re.findall(r"^```toml\n(.*?)^```", page, re.M | re.S)
    (tmp_path / "tracker.toml").write_text(file, "utf-8")
    settings = load_settings({}, {"SHOP_PAGE_KEY": "k1", "DASHBOARD_KEY": "k2"}, tmp_path / "tracker.toml")
    assert [(key.name, set(key.scopes)) for key in settings.keys] == [
        ("shop-page", {Scope.INGEST}),
        ("dashboard", {Scope.QUERY}),
    ]


@pytest.mark.parametrize(("name", "make"), generate.PAGES.items(), ids=list(generate.PAGES))
def test_generated_pages(name: str, make: Callable[[], str]) -> None:
    """The pages that are made from the code are what would be made now.

    Not to the letter: where lines of a help break is up to the version of Python.
    """
    written = (DOCS / name).read_text("utf-8")
    assert written.split() == make().split(), "run: python -m docs.generate"


def test_settings_has_every_option() -> None:
    """Every option of ``serve`` is in the reference, in its three spellings."""
    page = (DOCS / "settings.md").read_text("utf-8")
    for option in options():
        assert f"| `{flag(option.name)}` | `{variable(option.name)}` | `{option.name}` |" in page


def test_commands_has_every_command() -> None:
    """Every command is in the reference, and every action of one."""
    headings = re.findall(r"^## (.*)$", (DOCS / "commands.md").read_text("utf-8"), re.M)
    (action,) = (found for found in command_line()._actions if isinstance(found, argparse._SubParsersAction))
    assert {f"wsproto-tracker {name}" for name in action.choices} < set(headings)
    assert {"wsproto-tracker", "wsproto-tracker store erase", "tracker-conformance rejudge"} < set(headings)


def test_options_in_no_group_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new option has to be put somewhere before the page can be made."""
    monkeypatch.setitem(generate._GROUPS, "Time", ())
    with pytest.raises(ValueError, match=r"expected each option in one group: .*idle_timeout_s"):
        generate.settings_page()


def test_greeting_is_what_serve_prints() -> None:
    """The page shows what ``serve`` prints with its defaults."""
    (block,) = blocks("text", pages=[GETTING_STARTED])
    printed = greeting(Settings(), (Address("127.0.0.1", 4242),))
    assert re.fullmatch(shown(block.text), printed)


def test_keys(tmp_path: Path) -> None:
    """The keys of the example can be served, and are for what it says of them."""
    (block,) = blocks("toml", pages=[GETTING_STARTED])
    file = tmp_path / "tracker.toml"
    file.write_text(block.text, "utf-8")
    page, office = load_settings({}, {"SHOP_PAGE_KEY": "p4ge", "OFFICE_KEY": "0ffice"}, file).keys
    assert page == Key(
        key="p4ge",
        name="shop-page",
        scopes=frozenset([Scope.INGEST]),
        apps=frozenset(["shop"]),
        rate=1000,
    )
    assert office == Key(
        key="0ffice",
        name="office",
        scopes=frozenset([Scope.QUERY]),
        apps=frozenset(["shop", "blog"]),
        origins=("https://office.example",),
    )


async def test_keys_new(tmp_path: Path) -> None:
    """The commands that make keys make a file that can be served, with one for the page and one for the dashboard."""
    made = [
        words.removesuffix(" >>tracker.toml").split()
        for words in re.findall(r"^\$ wsproto-tracker (keys new .*)$", GETTING_STARTED.read_text("utf-8"), re.M)
    ]
    told = [await run(*words) for words in made]
    assert all(ended.is_clean for ended in told)
    (tmp_path / "tracker.toml").write_text("".join(ended.output for ended in told), "utf-8")
    settings = load_settings({}, {}, tmp_path / "tracker.toml")
    assert [set(key.scopes) for key in settings.keys] == [{Scope.INGEST}, {Scope.QUERY}]


def test_modules_of_the_architecture() -> None:
    """Every module and every class that the page names is there, and so are their methods."""
    package = ROOT / "wsproto_tracker"
    for name in re.findall(r"`([\w/-]+\.py)`", ARCHITECTURE):
        assert (package / name).is_file() or (ROOT / name).is_file(), name
    for name in re.findall(r"`([a-z_-]+/)`", ARCHITECTURE):
        assert (package / name).is_dir() or (ROOT / name).is_dir(), name
    code = {path: path.read_text("utf-8") for path in package.rglob("*.py")}
    for name, method in re.findall(r"`([A-Z][a-z]\w+)(?:\.(\w+))?`", ARCHITECTURE):
        homes = [text for text in code.values() if re.search(rf"^class {name}\b", text, re.M)]
        assert homes, name
        assert not method or any(f"def {method}(" in text for text in homes), f"{name}.{method}"


def test_figures_of_the_architecture() -> None:
    """The sizes that the page names are those of the code."""
    from wsproto_tracker.store.block import Shape

    shape = Shape()
    for figure in (shape.block_events, shape.open_events, 4 * shape.open_events):
        assert f"{figure:,}" in ARCHITECTURE
    for size in (shape.block_bytes, 4 * shape.open_bytes):
        assert f"{size // 1024**2} MiB" in ARCHITECTURE


def test_options_of_the_tests() -> None:
    """The table has the options that the tests have, with their defaults."""
    parser = pytest.Parser(_ispytest=True)
    pytest_addoption(parser)
    defaults = {name: option.attrs().get("default") for option in parser._anonymous.options for name in option.names()}
    rows = dict(re.findall(r"^\| `(--[a-z-]+)` \| (`\d+`|by chance) \|", CONTRIBUTING, re.M))
    assert rows == {name: "by chance" if value is None else f"`{value}`" for name, value in defaults.items()}


def test_files_of_contributing() -> None:
    """Every file and folder that the page names is there."""
    for name in re.findall(r"`((?:tests|docs|conformance|protocol-spec|wsproto_tracker)/[\w./-]+)`", CONTRIBUTING):
        assert (ROOT / name).exists(), name


def test_what_the_server_says_when_nothing_arrives() -> None:
    """What the page has the reader look for is what the server says, in answers and in its log."""
    _, _, table = GETTING_STARTED.read_text("utf-8").partition("## When nothing arrives")
    seen = re.findall(r"^\| ([^|]*) \|", table, re.M)
    code = "".join(path.read_text("utf-8") for path in (ROOT / "wsproto_tracker").rglob("*.py"))
    phrases = [phrase for cell in seen for phrase in re.findall(r"`([a-zA-Z_]{6,}|[a-zA-Z]+(?: [a-zA-Z]+)+)`", cell)]
    assert len(phrases) > 5
    assert [phrase for phrase in phrases if phrase not in code] == []
