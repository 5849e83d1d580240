"""The README tells the truth: its code runs, its options exist with the defaults that it gives."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, Running
from wsproto_tracker import Address, Settings
from wsproto_tracker.cli.serve import greeting
from wsproto_tracker.settings import options

README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code: str, tmp_path: Path) -> None:
    """Every Python block runs as it stands."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("listening on 127.0.0.1:")


def test_options() -> None:
    """Every option in the table is one, with that default."""
    defaults = {"--" + option.name.replace("_", "-"): option.default or None for option in options()}
    rows = re.findall(r"^\| (`--[^|]*) \| ([^|]*) \|", README, re.M)
    assert len(rows) > 5
    for names, values in rows:
        named = zip(re.findall(r"`(--[a-z-]+)`", names), re.findall(r"`([^`]+)`", values) or ["None"], strict=True)
        for name, value in named:
            assert name == "--config" or str(defaults[name]) == value, name


def test_snippet_is_what_serve_prints() -> None:
    """The endpoints for vite.config.ts are those that ``serve`` prints with its defaults."""
    printed = greeting(Settings(), (Address("127.0.0.1", 4242),))
    endpoints = re.findall(r"(?:ws|ping)Endpoint: '[^']*'", blocks("ts")[0])
    assert len(endpoints) == 2
    assert all(endpoint in printed for endpoint in endpoints)


async def test_http_endpoints(server: Running) -> None:
    """The endpoints for the HTTP mode exist, and the event of the example is accepted."""
    paths = dict(re.findall(r"(\w+)Endpoint: 'http://127.0.0.1:4242(/[^']*)'", blocks("ts")[1]))
    example = re.search(r"-d '(.*?)'", README, re.S)
    assert example
    response = await server.http("POST", "/" + paths["write"], example[1].encode())
    assert response.body.decode() in README
    assert (await server.http("GET", "/" + paths["read"] + "?search=hello")).json()["total"] == 1
    assert json.loads((await server.http("GET", "/" + paths["ping"])).body)["ok"]


def test_tree() -> None:
    """What the tree of the repository shows is there."""
    (tree,) = blocks("text")
    folder = ROOT
    for line in tree.splitlines():
        name = line.split()[0]
        folder = folder if line.startswith(" ") else ROOT
        assert (folder / name).exists(), name
        folder = folder / name if name == "wsproto_tracker/" else folder
