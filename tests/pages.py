"""What tests read out of pages: code blocks, the commands in them, links, headings."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import attrs

from tests.support import ROOT

PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "conformance" / "README.md",
    ROOT / "bench" / "README.md",
]
"""Those that a person reads to use the project, or to change it."""

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.M | re.S)
_SEPARATORS = {"|", "||", "&", "&&", ";"}
_REDIRECTIONS = {">", ">>", "<"}


@attrs.frozen
class Block:
    """A code block.

    :ivar where: page and line, for people.
    """

    page: Path
    where: str
    language: str
    text: str

    def __str__(self) -> str:
        return self.where


@attrs.frozen
class Command:
    """What is typed at a prompt, and what it prints, as a page shows it.

    :ivar programs: each program of it, with its arguments.
    """

    where: str
    typed: str
    output: str

    @property
    def programs(self) -> list["Program"]:
        return list(programs(self.typed, self.where))


@attrs.frozen
class Program:
    """One program with its arguments, and the variables that are set for it."""

    where: str
    words: list[str]
    variables: dict[str, str]

    def __str__(self) -> str:
        return f"{self.where} {' '.join(self.words)}"


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(*languages: str, pages: list[Path] = PAGES) -> list[Block]:
    """The code blocks of the pages; of all languages, if none is given."""
    found = []
    for page in pages:
        text = page.read_text("utf-8")
        for match in _BLOCK.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            if not languages or match[2] in languages:
                found.append(Block(page, f"{relative(page)}:{line}", match[2], dedent(match[3])))
    return found


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return _BLOCK.sub("", page.read_text("utf-8"))


def commands(block: Block) -> Iterator[Command]:
    """The commands of a ``console`` block."""
    typed, output = "", ""
    for line in block.text.splitlines():
        if typed and not _is_whole(typed):
            typed += f"\n{line}"
        elif line.startswith("$ "):
            if typed:
                yield Command(block.where, typed, output)
            typed, output = line[2:], ""
        else:
            output += f"{line}\n"
    assert typed, f"{block.where}: no line begins with $"
    yield Command(block.where, typed, output)


def _is_whole(typed: str) -> bool:
    if typed.endswith("\\"):
        return False
    try:
        shlex.split(typed, comments=True)
    except ValueError:  # a quotation that goes on
        return False
    return True


def programs(typed: str, where: str) -> Iterator[Program]:
    """The programs that a line of a shell runs."""
    lexer = shlex.shlex(typed.replace("\\\n", " "), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    tokens = iter([*lexer, ";"])
    for token in tokens:
        if token in _REDIRECTIONS:
            next(tokens)
        elif token not in _SEPARATORS:
            words.append(token)
        elif words:
            yield _program(words, where)
            words = []


def _program(words: list[str], where: str) -> Program:
    variables = {}
    while words and (match := re.fullmatch(r"([A-Z_]+)=(.*)", words[0], re.S)):
        variables[match[1]] = match[2]
        words = words[1:]
    return Program(where, words, variables)


def all_programs() -> list[Program]:
    """Every program in the pages: in blocks, in the steps of CI, and in the text."""
    found = []
    for block in blocks("console"):
        for command in commands(block):
            found += command.programs
    for block in blocks("yaml"):
        for line in re.findall(r"^- run: (.*)$", block.text, re.M):
            found += programs(line, block.where)
    for page in PAGES:
        for code in re.findall(r"`([^`]+)`", prose(page)):
            if re.match(r"(wsproto-tracker|tracker-conformance|pytest|python -m|python examples)\b", code):
                found += programs(" ".join(code.split()), relative(page))
    return [program for program in found if program.words]


def links(page: Path) -> list[str]:
    """Where a page leads to in this repository."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    slugs: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", prose(page), re.M):
        slug = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        number = 0
        while (name := f"{slug}-{number}" if number else slug) in slugs:
            number += 1
        slugs.add(name)
    return slugs


def shown(pattern: str) -> str:
    """A regular expression for what a page shows, where … stands for anything."""
    return ".*".join(map(re.escape, pattern.strip().split("…")))
