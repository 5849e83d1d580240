"""The requirements, as SPEC.md has them."""

import re
from functools import lru_cache
from pathlib import Path

import attrs

__all__ = ["Requirement", "error_codes", "requirements", "spec_text", "spec_version"]

_ITEM = re.compile(r"^- \*\*([A-Z]+(?:-[A-Z]+)?-\d+) (MUST NOT|MUST|SHOULD NOT|SHOULD|MAY)\*\* ?(.*)$")
_HEADING = re.compile(r"^##+ (?:\d+\. )?(.*)$")


@attrs.frozen
class Requirement:
    """One sentence that a server is judged by.

    :ivar level: ``MUST``, ``MUST NOT``, ``SHOULD``, ``SHOULD NOT`` or ``MAY``.
    :ivar sentence: whole, in one line: "A server MUST …".
    :ivar section: its heading.
    """

    id: str
    level: str
    sentence: str
    section: str


def spec_text() -> str:
    """SPEC.md, as it lies in the package, or beside it in a checkout."""
    inside = Path(__file__).with_name("SPEC.md")
    checkout = Path(__file__).parents[2] / "protocol-spec" / "SPEC.md"
    return (inside if inside.exists() else checkout).read_text("utf-8")


def spec_version() -> str:
    """The version of the specification."""
    found = re.search(r"^Version (\S+)\.", spec_text(), re.MULTILINE)
    return found[1] if found else "unknown"


@lru_cache(maxsize=1)
def requirements() -> dict[str, Requirement]:
    """Every requirement, by its id, in the order of the specification."""
    found: dict[str, Requirement] = {}
    section, item = "", ""
    for line in [*spec_text().splitlines(), ""]:
        if item and not line.startswith("  "):
            match = _ITEM.match(item)
            if match:
                name, level, rest = match.groups()
                found[name] = Requirement(name, level, f"A server {level} {rest}", section)
            item = ""
        if heading := _HEADING.match(line):
            section = heading[1]
        elif line.startswith("- **"):
            item = line
        elif item:
            item += " " + line.strip()
    return found


@lru_cache(maxsize=1)
def error_codes() -> frozenset[str]:
    """The closed list of codes of ``error`` frames (ERR-2)."""
    return frozenset(re.findall(r"^\| `(\w+)` \|.*\| \d{3} \|$", spec_text(), re.MULTILINE))
