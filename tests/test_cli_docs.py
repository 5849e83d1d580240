"""docs/cli.md says what is so of the commands that read."""

import re

import pytest

from tests.command import run
from tests.support import ROOT

PAGE = (ROOT / "docs" / "cli.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## ([a-z]+)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
COMMANDS = ("query", "tail", "stats", "export")


@pytest.mark.parametrize("command", COMMANDS)
async def test_options_exist(command: str) -> None:
    """Every option that a section names is one of its command, and so is every common one."""
    told = (await run(command, "--help")).output
    common = PAGE[: PAGE.index("\n## query")]
    if command == "tail":
        common = common.replace("`--since`", "").replace("`--until`", "")
    examples = re.findall(rf"^\$ wsproto-tracker {command}\b(.*)$", SECTIONS[command], re.M)
    assert len(examples) > 2
    prose = re.sub(r"^\$ .*$", "", common + SECTIONS[command], flags=re.M)
    for option in re.findall(r"--[a-z][a-z-]*", prose + "".join(example.partition("|")[0] for example in examples)):
        assert option == "--help" or f"  {option}" in told, option


@pytest.mark.parametrize("command", COMMANDS)
async def test_examples_are_those_of_the_help(command: str) -> None:
    """The examples are the same in both."""
    told = (await run(command, "--help")).output
    for example in re.findall(r"^\$ (wsproto-tracker .*)$", SECTIONS[command], re.M):
        assert f"  {example}\n" in told
