"""The suite against SPEC.md: every requirement has a check or a reason, and no check names what is not there."""

import re
from collections import Counter

from tracker_conformance import all_checks, select
from tracker_conformance.checks.unseen import UNSEEN
from tracker_conformance.spec import requirements, spec_text, spec_version
from tracker_conformance.suite import OPTIONS

_NORMATIVE = re.compile(r"\b(MUST|SHOULD|MAY)\b")


def test_every_normative_sentence_has_an_id() -> None:
    """Outside of the explanation of the levels, the words of RFC 2119 stand in requirements only."""
    known = " ".join(found.sentence for found in requirements().values())
    assert len(_NORMATIVE.findall(known)) == len(requirements())  # one level each
    body = spec_text().partition("\n## 1. ")[2]
    assert len(_NORMATIVE.findall(body)) == len(requirements())
    listed = re.findall(r"^- \*\*([A-Z-]+-\d+) ", body, re.MULTILINE)
    assert listed == list(requirements())
    assert [name for name, count in Counter(listed).items() if count > 1] == []


def test_every_requirement_has_a_check_or_a_reason() -> None:
    """What is testable is tested; what is not says why, and nothing is both."""
    checked = {name for check in all_checks() for name in check.ids}
    assert checked <= set(requirements()), checked - set(requirements())
    assert set(UNSEEN) <= set(requirements())
    assert set(requirements()) - checked - set(UNSEEN) == set()
    assert checked & set(UNSEEN) == set()
    assert all(reason.strip() for reason in UNSEEN.values())


def test_checks_are_whole() -> None:
    """Each check says what it tries, needs checks that are there, and judges requirements of one level."""
    names = {check.name for check in all_checks()}
    assert len(names) >= 90
    for check in all_checks():
        assert check.title.endswith("."), check.name
        assert set(check.needs) <= names, check.name
        assert len({found.level.startswith("MUST") for found in check.requirements}) == 1, check.name
        assert set(check.uses) <= {"no_key", *OPTIONS}, check.name
        levels = {found.id.startswith("X-") for found in check.requirements}
        assert len(levels) == 1, check.name


def test_selection() -> None:
    """Checks are selected by name, section, id and level, with wildcards."""
    checks = all_checks()
    assert select(checks) == checks
    assert {check.section for check in select(checks, ["auth"])} == {"auth"}
    assert {check.ids[0] for check in select(checks, ["AUTH-3"])} == {"AUTH-3"}
    assert [check.name for check in select(checks, ["basics.con*"])] == ["basics.connects"]
    assert all("ACK" not in name for check in select(checks, [], ["ACK-*"]) for name in check.ids)
    assert {check.level for check in select(checks, level="must")} == {"must"}
    assert select(checks, ["no-such"]) == []


def test_spec_version() -> None:
    """The version of the specification is read from its head."""
    assert re.fullmatch(r"\d+\.\d+", spec_version())
    assert requirements()["AUTH-1"].sentence.startswith("A server MUST answer an `auth` frame")
    assert requirements()["CONN-8"].section == "Connection and transport"
    assert requirements()["AUTH-5"].sentence.endswith("that was too much (LIMIT-6), and save nothing of it.")
