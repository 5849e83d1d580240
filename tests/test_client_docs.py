"""The page on the client says what is so: its options, its errors, its signatures; and its programs run."""

import inspect
import re
import subprocess
import sys
from typing import get_type_hints

import attrs
import pytest
import trio

import wsproto_tracker
from tests.support import ROOT, Running
from wsproto_tracker import Client, Page, Rejected, Stats, errors, open_client
from wsproto_tracker.client.options import ClientOptions, Options
from wsproto_tracker.protocol.filters import Asked, Filters

PAGE = (ROOT / "docs" / "client.md").read_text("utf-8")
ROWS = dict(re.findall(r"^\| `([a-z_]+)` \| (`[^`]*`|required) \|", PAGE, re.M))
ERRORS = set(re.findall(r"^\| `(\w+Error)` \|", PAGE, re.M))


def test_every_option_is_there_with_its_default() -> None:
    """The table has every option, in the order of the class, with its default, and no other."""
    defaults = {
        field.name: "required" if field.default is attrs.NOTHING else f"`{field.default}`"
        for field in attrs.fields(ClientOptions)
    }
    assert list(ROWS.items()) == list(defaults.items())


def test_the_typed_options_are_those_of_the_class() -> None:
    """What type checkers see of ``open_client`` and of queries is what the classes have."""
    own = inspect.signature(open_client).parameters.keys() - {"options"}
    assert get_type_hints(ClientOptions) == get_type_hints(Options) | {
        name: get_type_hints(open_client)[name] for name in own
    }
    assert get_type_hints(Asked) == get_type_hints(Filters)


def test_every_error_is_there() -> None:
    """The table has every error of the client, and each of them is exported and in the tree of ``errors``."""
    family = {
        name
        for name, found in vars(errors).items()
        if isinstance(found, type) and issubclass(found, errors.ClientError)
    }
    assert (family - {"ClientError"}) | {"ConfigurationError", "EventError"} == ERRORS
    assert family <= set(wsproto_tracker.__all__)
    assert all(name in str(errors.__doc__) for name in family)


def test_signatures_and_members_are_those_of_the_code() -> None:
    """What the page writes of calls and values is so."""
    parameters = inspect.signature(Client.track).parameters.values()
    shown = [
        str(p).split(":")[0] + (f"={p.default!r}".replace("'", '"') if p.default is not p.empty else "")
        for p in parameters
    ]
    shown.insert(3, "*")
    assert f"client.track({', '.join(shown[1:])})" in PAGE
    assert f"timeout_s={inspect.signature(Client.flush).parameters['timeout_s'].default}" in PAGE
    assert f"Page({', '.join(field.name for field in attrs.fields(Page))})" in PAGE
    assert all(f"`{field.name}`" in PAGE for kind in (Stats, Rejected, Filters) for field in attrs.fields(kind))


@pytest.mark.parametrize("code", re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S))
async def test_programs_run(server: Running, code: str) -> None:
    """Every program on the page runs as it stands, but for the address."""
    program = code.replace("ws://127.0.0.1:4242/_tracker/ws", server.ws_url)
    assert program != code
    with trio.fail_after(30):
        done = await trio.run_process(
            [sys.executable, "-W", "error", "-c", program],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    assert (done.returncode, done.stderr.decode()) == (0, "")
