"""A run as JUnit XML, as CI systems read it: a ``testsuite`` for each section of the specification."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit
from xml.etree import ElementTree

from tracker_conformance.model import Result, Run, Verdict
from tracker_conformance.outcome import is_known
from tracker_conformance.reports.wording import by_section, details

__all__ = ["dumps"]

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NO_SECTION = "The run"


def dumps(run: Run, known: Mapping[str, str]) -> str:
    """A run as JUnit XML. A warning is a test that passed; what is known to fail was skipped; a run that is not whole
    has an error more.

    :param known: see ``outcome``.
    """
    root = ElementTree.Element("testsuites", name="tracker-conformance", time=f"{run.seconds:.3f}")
    for number, (section, results) in enumerate(by_section(run).items()):
        cases = [_case(run, result, known) for result in results]
        root.append(_suite(run, number, section, cases, sum(result.seconds for result in results)))
    if run.problem:
        case = ElementTree.Element("testcase", classname="tracker_conformance", name="run", time="0.000")
        _add(case, "error", run.problem, type="not whole")
        root.append(_suite(run, len(root), _NO_SECTION, [case], 0))
    counts = Counter(child.tag for child in root.iterfind("testsuite/testcase/*"))
    tests = len(root.findall("testsuite/testcase"))
    root.attrib |= {"tests": str(tests), "failures": str(counts["failure"]), "errors": str(counts["error"])}
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n"


def _suite(
    run: Run, number: int, section: str, cases: Iterable[ElementTree.Element], seconds: float
) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite", name=_allowed(section), id=str(number), package="tracker_conformance")
    properties = ElementTree.SubElement(suite, "properties")
    facts = {"specification": run.spec_version, "suite": run.suite_version, "command": run.command}
    for name, value in (facts | {f"{name} URL": url for name, url in run.target.items()}).items():
        ElementTree.SubElement(properties, "property", name=_allowed(name), value=_allowed(value))
    suite.extend(cases)
    counts = Counter(child.tag for child in suite.iterfind("testcase/*"))
    suite.attrib |= {
        "tests": str(len(suite.findall("testcase"))),
        "failures": str(counts["failure"]),
        "errors": str(counts["error"]),
        "skipped": str(counts["skipped"]),
        "time": f"{seconds:.3f}",
        "timestamp": _allowed(run.started.removesuffix("Z")),
        "hostname": _allowed(_host(run)),
    }
    return suite


def _host(run: Run) -> str:
    try:
        return urlsplit(run.target.get("ws", "")).hostname or ""
    except ValueError:  # of a saved run that somebody wrote
        return ""


def _case(run: Run, result: Result, known: Mapping[str, str]) -> ElementTree.Element:
    section = result.check.partition(".")[0]
    case = ElementTree.Element(
        "testcase",
        classname=_allowed(f"tracker_conformance.{section}"),
        name=_allowed(result.check),
        time=f"{result.seconds:.3f}",
    )
    judgement = result.judgement
    match judgement.verdict:
        case _ if is_known(result, known):
            _add(case, "skipped", f"known: {known[result.check]}", details(run, result), type=judgement.verdict)
        case Verdict.UNTESTABLE:  # no test that passed, and no green run
            _add(case, "failure", f"untestable: {judgement.reason}", type=judgement.verdict)
        case Verdict.FAIL:
            _add(case, "failure", judgement.reason, details(run, result), type=judgement.verdict)
        case Verdict.ERROR:
            _add(case, "error", judgement.reason, details(run, result), type=judgement.verdict)
        case Verdict.SKIP:
            _add(case, "skipped", judgement.reason, type=judgement.verdict)
        case Verdict.WARN:
            _add(case, "system-out", None, f"WARN: {judgement.reason}\n{details(run, result)}")
    return case


def _add(case: ElementTree.Element, tag: str, message: str | None, text: str = "", **attributes: str) -> None:
    if message is not None:
        attributes["message"] = _allowed(message)
    ElementTree.SubElement(case, tag, attributes).text = _allowed(text)


def _allowed(text: str) -> str:
    """A text without the characters that XML cannot hold."""
    return _FORBIDDEN.sub("", text)
