"""What is the same for all pages: code blocks run or parse, URLs are routes, links lead somewhere."""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import trio
from tracker_conformance import cli as conformance
from tracker_conformance.outcome import known_failures

import bench.__main__
import bench.churn
import bench.soak
import tests.conformance.matrix
import tests.fuzz.__main__
from docs import generate
from tests.command import DEADLINE_S
from tests.pages import PAGES, Block, Program, all_programs, anchors, blocks, commands, links, prose, relative, shown
from tests.support import ROOT, SPEC, Running, running
from tests.test_examples import VALIDATORS
from wsproto_tracker.cli import command_line
from wsproto_tracker.settings import ENVIRONMENT_PREFIX, load_settings, mistyped_variables, options, variable

LANGUAGES = {"python", "console", "toml", "json", "ts", "js", "nginx", "ini", "yaml", "text", ""}
LINKING = [*PAGES, SPEC / "SPEC.md", SPEC / "examples" / "README.md", ROOT / "CHANGELOG.md"]
OURS = r"(?:127\.0\.0\.1:4242|localhost:4242|tracker\.example(?:\.org)?|api\.myapp\.com)"
URL = re.compile(rf"(?:https?|wss?)://{OURS}(/[^\s'\"`)?$,|]*)")
WRONG = "/wrong/"  # where pages show what is answered where nothing is

PARSERS: dict[str, argparse.ArgumentParser] = {
    "wsproto-tracker": command_line(),
    "python -m wsproto_tracker": command_line(),
    "tracker-conformance": conformance._parser(),
    "tracker-conformance rejudge": conformance._rejudge_parser(),
    "python -m bench": bench.__main__.command_line(),
    "python -m bench churn": bench.churn.command_line(),
    "python -m bench soak": bench.soak.command_line(),
    "python -m tests.fuzz": tests.fuzz.__main__.command_line(),
    "python -m tests.conformance.matrix": tests.conformance.matrix.command_line(),
    "python -m docs.generate": argparse.ArgumentParser(),
}
PROGRAMS = all_programs()


def parser_of(words: list[str]) -> tuple[argparse.ArgumentParser, list[str]] | None:
    """The parser of a command of ours, and the words for it."""
    for count in range(min(4, len(words)), 0, -1):
        if (parser := PARSERS.get(" ".join(words[:count]))) is not None:
            return parser, words[count:]
    return None


def is_ours(program: Program) -> bool:
    first, *rest = program.words
    is_module = first.startswith("python") and rest[:1] == ["-m"] and rest[1:2] not in (["venv"], ["pytest"])
    return first in ("wsproto-tracker", "tracker-conformance") or is_module


@pytest.mark.parametrize("program", [program for program in PROGRAMS if is_ours(program)], ids=str)
def test_commands_parse(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command of ours is one, with options that it has and values that they take."""
    if " ".join(program.words) in generate.parsers():
        return  # the name of a command, in a sentence
    found = parser_of(program.words)
    assert found is not None, "there is no such command"
    parser, words = found
    if {"--help", "--version"} & set(words):
        with pytest.raises(SystemExit, match=r"\A0\Z"):
            parser.parse_known_args(words)
        return
    try:
        parsed, rest = parser.parse_known_args(words)
    except SystemExit:
        pytest.fail(capsys.readouterr().err)
    assert rest == []
    names = {option.name for option in options()}
    flags: dict[str, str] = {}
    if names <= set(getattr(parsed, "options", [])):
        flags = {name: value for name in names if (value := getattr(parsed, name)) is not None}
    load_settings(flags, program.variables)
    assert mistyped_variables(program.variables) == []


@pytest.mark.parametrize("program", [program for program in PROGRAMS if program.words[0] == "pytest"], ids=str)
def test_runs_of_pytest_parse(program: Program, pytestconfig: pytest.Config) -> None:
    """What pytest is given are options that it has, and files that exist."""
    parsed, rest = pytestconfig._parser.parse_known_and_unknown_args(program.words[1:])
    assert rest == []
    assert all((ROOT / name).exists() for name in parsed.file_or_dir)


@pytest.mark.parametrize("program", [p for p in PROGRAMS if p.words[0] in ("pip", "npm", "cp", "python")], ids=str)
def test_what_is_installed_and_run_exists(program: Program) -> None:
    """Extras, folders and files that commands name are there."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for word in program.words:
        if match := re.fullmatch(r"\.\[(.*)\]", word):
            assert set(match[1].split(",")) <= set(extras)
        if re.match(r"(examples|deploy|bench|tests)/", word):
            assert (ROOT / word).exists()


def test_variables_of_commands_are_options() -> None:
    """A variable that is set for one of our commands is one that it reads."""
    known = {variable(option.name) for option in options()} | {
        f"{ENVIRONMENT_PREFIX}{name}" for name in ("CONFIG", "URL")
    }
    set_ = {name for program in PROGRAMS if program.words[0] == "wsproto-tracker" for name in program.variables}
    assert set_ <= known


def test_languages() -> None:
    """Every code block is in a language that some test looks at."""
    assert {block.language for block in blocks()} <= LANGUAGES
    deployed = {block.page.name for block in blocks("nginx", "ini", "")}
    assert deployed <= {"operations.md"}, "tests/test_deploy.py compares these with deploy/"


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_toml_is_loaded(block: Block, tmp_path: Path) -> None:
    """A TOML block is a file of settings, with the variables that it names set, or a baseline of the suite."""
    file = tmp_path / "tracker.toml"
    file.write_text(block.text, "utf-8")
    if "[known]" in block.text:
        assert known_failures(file)
        return
    names = re.findall(r'^key_env = "(\w+)"', block.text, re.M)
    settings = load_settings({}, {name: f"key-{number}" for number, name in enumerate(names)}, file)
    assert len(settings.keys) == block.text.count("[[keys]]")


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_json_is_read(block: Block) -> None:
    """A JSON block is JSON, one value or one a line, and frames in it are frames."""
    try:
        values: list[Any] = [json.loads(block.text)]
    except ValueError:
        values = [json.loads(line) for line in block.text.splitlines()]
    for value in values:
        kind = value.get("type") if isinstance(value, dict) else None
        name = f"frame-{str(kind).replace(':', '-')}"
        assert name not in VALIDATORS or VALIDATORS[name].is_valid(value), name


@pytest.mark.parametrize("block", blocks("ts", "js"), ids=str)
def test_script_parses(block: Block, tmp_path: Path) -> None:
    """A block for ``vite.config.ts`` is a module, or members of an object."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    is_module = re.search(r"^(import|export|const|await)\b", block.text, re.M)
    file = tmp_path / "block.mjs"
    file.write_text(block.text if is_module else f"export default {{\n{block.text}\n}}\n", "utf-8")
    done = subprocess.run([node, "--check", str(file)], capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stderr


def test_addresses_of_scrapes() -> None:
    """Prometheus asks where the page has the tracker listen."""
    for block in blocks("yaml"):
        for address in re.findall(r'targets: \["(.*?)"\]', block.text):
            assert f"`--metrics-address {address}`" in " ".join(prose(block.page).split()), block.where


@pytest.mark.parametrize("base", ["/_tracker", "/tracker"])
async def test_urls_are_routes(base: str) -> None:
    """Every URL of the server, in whatever a page shows, is one that it serves."""
    urls = {(relative(page), path) for page in PAGES for path in URL.findall(page.read_text("utf-8"))}
    here = {(page, path) for page, path in urls if ("/tracker" if path.startswith("/tracker") else "/_tracker") == base}
    here = {(page, path) for page, path in here if page not in ("conformance/README.md", "bench/README.md")}
    assert len(here) > 3
    async with running(base_path=base) as server:
        for page, path in here:
            status = (await server.http("GET", f"/{path}")).status
            assert (status == 404) == path.startswith(WRONG), f"{page}: {path}"


@pytest.mark.parametrize("page", ["README.md", "docs/getting-started.md"])
async def test_requests_are_answered_as_shown(server: Running, page: str) -> None:
    """What the pages ask by curl is answered as they show it."""
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    asked = [
        command
        for block in blocks("console", pages=[ROOT / page])
        for command in commands(block)
        if command.typed.startswith("curl ") and command.output
    ]
    assert asked
    for command in asked:
        typed = command.typed.replace("127.0.0.1:4242", str(server.address))
        done = await trio.run_process(["sh", "-c", typed], capture_stdout=True, capture_stderr=True)
        told = done.stdout.decode().strip()
        assert re.fullmatch(shown(command.output), told, re.S), told


@pytest.mark.parametrize("page", LINKING, ids=relative)
def test_links(page: Path) -> None:
    """Every link within the repository leads to a file that exists, and to a heading in it."""
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_in_the_table() -> None:
    """The README's table has every page of docs/."""
    table = (ROOT / "README.md").read_text("utf-8").partition("\n## Documentation\n")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| \[[^\]]+\]\(docs/([\w-]+\.md)\) \|", table, re.M)
    assert sorted(listed) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))


def test_generator_is_what_the_pages_say() -> None:
    """The command that writes the pages exists as it is written."""
    done = subprocess.run(
        [sys.executable, "-m", "docs.generate", "--help"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        cwd=ROOT,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: python -m docs.generate" in done.stdout
