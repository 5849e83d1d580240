"""docs/cli.md says what is so of the commands that talk to a server."""

import re

import pytest

from docs.generate import parsers
from tests.support import ROOT

PAGE = (ROOT / "docs" / "cli.md").read_text("utf-8")
COMMON = PAGE[: PAGE.index("\n## query")]
SECTIONS = dict(re.findall(r"^## ([a-z]+)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
COMMANDS = ("query", "tail", "stats", "export", "send", "import", "load", "demo")
OPTION = r"--[a-z][a-z-]*"


@pytest.mark.parametrize("command", COMMANDS)
def test_options(command: str) -> None:
    """Every option of a command is in its section, or with the common ones; and a section has no others."""
    options = set(re.findall(OPTION, parsers()[f"wsproto-tracker {command}"].format_help())) - {"--help"}
    examples = re.findall(rf"^\$ wsproto-tracker {command}\b([^|\n]*)", SECTIONS[command], re.M)
    assert examples
    prose = re.sub(r"^\$ .*$", "", SECTIONS[command], flags=re.M)
    named = set(re.findall(OPTION, " ".join([prose, *examples])))
    assert named <= options
    assert options <= named | set(re.findall(OPTION, COMMON))


@pytest.mark.parametrize("command", ["query", "tail", "stats", "export"])
def test_examples_are_those_of_the_help(command: str) -> None:
    """The examples are the same in both."""
    told = parsers()[f"wsproto-tracker {command}"].format_help()
    for example in re.findall(r"^\$ (wsproto-tracker .*)$", SECTIONS[command], re.M):
        assert f"  {example}\n" in told
