"""House rules of the code: nothing imports upward, modules stay readable, the public names are there."""

import re
from pathlib import Path

import pytest

import wsproto_tracker
from tests.support import ROOT

PACKAGE = ROOT / "wsproto_tracker"
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> set[str]:
    return set(re.findall(r"^\s*(?:from|import) ([\w.]+)", path.read_text("utf-8"), re.M))


@pytest.mark.parametrize(
    ("layer", "forbidden"),
    [
        (
            "protocol",
            ["trio", "websockets", "h11", "wsproto_tracker.store", "wsproto_tracker.server", "wsproto_tracker.cli"],
        ),
        ("store", ["websockets", "h11", "wsproto_tracker.server", "wsproto_tracker.cli", "wsproto_tracker.settings"]),
        (
            "client",
            [
                "h11",
                "wsproto_tracker.store",
                "wsproto_tracker.server",
                "wsproto_tracker.settings",
                "wsproto_tracker.cli",
            ],
        ),
        ("server", ["wsproto_tracker.cli", "wsproto_tracker.client"]),
    ],
)
def test_nothing_imports_upward(layer: str, forbidden: list[str]) -> None:
    """The protocol knows no I/O, the store no server, the client neither of them, the server no command line."""
    for path in (PACKAGE / layer).rglob("*.py"):
        bad = [
            name for name in imports(path) for prefix in forbidden if name == prefix or name.startswith(prefix + ".")
        ]
        assert not bad, f"{path} imports {bad}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_are_readable(path: Path) -> None:
    """A module has a docstring and fewer than 400 lines."""
    text = path.read_text("utf-8")
    assert text.startswith('"""')
    assert len(text.splitlines()) < 400


def test_public_names() -> None:
    """Everything that the package exports exists and has a docstring."""
    for name in wsproto_tracker.__all__:
        exported = getattr(wsproto_tracker, name)
        assert exported.__doc__, name
