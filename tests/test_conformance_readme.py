"""The README of the suite tells the truth: its Python runs, its options are there."""

import ast
import re
from inspect import CO_COROUTINE
from types import FunctionType
from typing import Any

from tracker_conformance import all_checks, cli

from tests.conformance.reference import Reference, running
from tests.support import ROOT

README = (ROOT / "conformance" / "README.md").read_text("utf-8")
URL = "ws://127.0.0.1:4242/ws"


async def test_python_runs() -> None:
    """The Python block runs in a trio program, against a server that conforms."""
    (block,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert URL in block
    names: dict[str, Any] = {}
    async with running(Reference()) as urls:
        code = compile(block.replace(URL, urls.ws), "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        assert code.co_flags & CO_COROUTINE
        await FunctionType(code, names)()
    assert names["failed"] == []
    assert len(names["run"].results) == len(all_checks())


def test_options() -> None:
    """Every option that it names is one."""
    flags = {flag for action in cli._parser()._actions for flag in action.option_strings}
    own = README.partition("python -m tests.conformance.matrix --all")
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", own[0] + own[2]))
    assert len(named) > 15
    assert named - flags == {"--tracker-url", "--api-key"}  # which are pytest's and the server's
