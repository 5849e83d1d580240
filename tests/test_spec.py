"""House rules of the specification: every sentence that demands has an id, and every id is proved by a test."""

import re
from pathlib import Path

import pytest

from tests.support import ROOT, SPEC

TEXT = (SPEC / "SPEC.md").read_text("utf-8")
BODY = TEXT[TEXT.index("## 1. ") :]
LEVEL = r"(?:MUST NOT|MUST|SHOULD NOT|SHOULD|MAY)"
ITEM = re.compile(rf"^- \*\*([A-Z]+(?:-[A-Z]+)*-\d+) ({LEVEL})\*\* ", re.M)
IDS = [match[1] for match in ITEM.finditer(BODY)]
CITED = re.compile(r"\b[A-Z]+(?:-[A-Z]+)*-\d+\b")
FAMILIES = {name.rpartition("-")[0] for name in IDS}


def citations(path: Path) -> set[str]:
    """The ids that a file cites; ``AUTH-1 to AUTH-3`` cites all three."""
    text = path.read_text("utf-8")
    found = {name for name in CITED.findall(text) if name.rpartition("-")[0] in FAMILIES}
    for family, first, last in re.findall(r"\b([A-Z-]+)-(\d+) to \1-(\d+)\b", text):
        found |= {f"{family}-{number}" for number in range(int(first), int(last) + 1)}
    return found


def test_ids_are_unique() -> None:
    """No id is given twice, and each family counts from 1 without gaps."""
    assert len(IDS) > 100
    for family in FAMILIES:
        numbers = sorted(int(name.rpartition("-")[2]) for name in IDS if name.rpartition("-")[0] == family)
        assert numbers == list(range(1, len(numbers) + 1)), family


def test_demands_have_ids() -> None:
    """Outside of the items nothing is demanded, and an item demands one thing at one level."""
    items = re.split(r"^(?=- \*\*)", BODY, flags=re.M)
    demands = 0
    for part in items:
        item = re.split(r"\n(?!  )", part)[0] if part.startswith("- **") else ""
        rest = part[len(item) :]
        assert not re.search(rf"\b{LEVEL}\b", rest), f"a demand without an id: {rest}"
        if item:
            assert len(re.findall(rf"\b{LEVEL}\b", item)) == 1, f"more than one level: {item}"
            demands += 1
    assert demands == len(IDS)


@pytest.mark.parametrize("name", IDS)
def test_every_id_is_cited_by_a_test(name: str) -> None:
    """Every requirement is proved by at least one test that cites it."""
    tests = [path for path in (ROOT / "tests").glob("*.py") if path.name != Path(__file__).name]
    assert any(name in citations(path) for path in tests), f"no test cites {name}"


@pytest.mark.parametrize("folder", ["wsproto_tracker", "tests", "protocol-spec"])
def test_only_real_ids_are_cited(folder: str) -> None:
    """Code, tests, schemas and the specification itself cite no id that does not exist."""
    for path in (ROOT / folder).rglob("*"):
        if path.suffix in {".py", ".json", ".md"}:
            assert citations(path) <= set(IDS), path
