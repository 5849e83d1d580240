"""What all reports have in common: their order, and the words for what happened."""

import json
import shlex
from collections import Counter

from tracker_conformance.model import Entry, Result, Run, Verdict
from tracker_conformance.spec import Requirement, requirements

__all__ = [
    "alone",
    "by_section",
    "counted",
    "details",
    "direction",
    "harmless",
    "in_words",
    "labelled",
    "requirements_of",
    "shortened",
    "tried",
]

_DIRECTIONS = {
    "open": "opened",
    "refused": "refused",
    "send": "sent",
    "receive": "received",
    "close": "closed",
    "request": "sent",
    "response": "received",
    "waited": "waited",
    "note": "noted",
}
_NAMES = {Verdict.PASS: "passed", Verdict.FAIL: "failed", Verdict.SKIP: "skipped", Verdict.UNTESTABLE: "untestable"}
_NO_SECTION = "Not in this version of the specification"
_MOST_ENTRIES = 12  # of the first, and of the last
_MOST_CHARACTERS = 240
_LINES = "\n\t"
_NOTHING: tuple[object, ...] = (None, True, False, "", [], {})


def harmless(text: str, *, lines: bool = False) -> str:
    r"""A text without what a terminal or a browser would obey or hide; such characters become escapes like ``\x1b``.

    :param lines: whether newlines and tabs stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or (lines and character in _LINES) else _escaped(character)
        for character in text
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()


def shortened(text: str, most: int) -> str:
    """A text of so many characters at most, and how many it had."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"


def by_section(run: Run) -> dict[str, list[Result]]:
    """The results by the section of SPEC.md that they are about, in its order."""
    sections: dict[str, list[Result]] = {requirement.section: [] for requirement in requirements().values()}
    sections[_NO_SECTION] = []
    for result in run.results:
        about = next(iter(requirements_of(result)), None)
        sections[about.section if about is not None else _NO_SECTION].append(result)
    return {section: results for section, results in sections.items() if results}


def requirements_of(result: Result) -> list[Requirement]:
    """The requirements that a check judges, as far as this release knows them."""
    known = requirements()
    return [known[name] for name in result.requirements if name in known]


def counted(run: Run) -> str:
    """How many checks came to which verdict, in words."""
    counts = Counter(result.judgement.verdict for result in run.results)
    parts = []
    for verdict in Verdict:
        if counts[verdict]:
            plural = "" if counts[verdict] == 1 else "s"
            other = {Verdict.WARN: f"warning{plural}", Verdict.ERROR: f"error{plural} of the suite"}
            parts.append(f"{counts[verdict]} {_NAMES.get(verdict) or other[verdict]}")
    checks = "check" if len(run.results) == 1 else "checks"
    return f"{len(run.results)} {checks} in {run.seconds:.1f} s" + (f": {', '.join(parts)}" if parts else "")


def alone(run: Run, check: str) -> str:
    """The command that runs one check alone; empty where the run was started by none."""
    return f"{run.command} --select {shlex.quote(check)}" if run.command else ""


def tried(result: Result) -> str:
    """How often a check was tried, where that was more than once."""
    return f"tried {result.attempts} times, failed {result.failures}" if result.attempts > 1 else ""


def labelled(run: Run, result: Result) -> list[tuple[str, str]]:
    """What there is to say of a check, as labels and lines of text, harmless all of it."""
    lines = [(requirement.id, requirement.sentence) for requirement in requirements_of(result)]
    shown = list(result.entries)
    left_out = len(shown) - 2 * _MOST_ENTRIES
    if left_out > 0:
        shown = shown[:_MOST_ENTRIES] + shown[-_MOST_ENTRIES:]
    for number, entry in enumerate(shown):
        if left_out > 0 and number == _MOST_ENTRIES:
            lines.append(("", f"… {left_out} entries more …"))
        connection = f"#{entry.connection} " if entry.connection else ""
        words = f"{direction(entry)} {shortened(harmless(in_words(entry)), _MOST_CHARACTERS)}"
        lines.append((f"{entry.at_s:.3f} s", connection + words.rstrip()))
    judgement = result.judgement
    facts = [("expected", judgement.expected), ("received", judgement.received), ("reason", judgement.reason)]
    lines += [(label, harmless(text)) for label, text in facts[: 2 if judgement.expected else 3] if text]
    lines += [("tries", tried(result)), ("alone", harmless(alone(run, result.check)))]
    return [(label, text) for label, text in lines if text]


def details(run: Run, result: Result) -> str:
    """What there is to say of a check, as one text."""
    return "\n".join(f"{label:>12}  {text}" for label, text in labelled(run, result))


def direction(entry: Entry) -> str:
    """What an entry is, in a word."""
    return _DIRECTIONS[entry.kind]


def in_words(entry: Entry) -> str:
    """What an entry holds, headers apart, in one text that begins with what is most telling."""
    data = {name: value for name, value in entry.data.items() if name != "headers"}
    parts = []
    match entry.kind:
        case "open" if data.pop("deflated", False):
            parts = ["with permessage-deflate"]
        case "close":
            parts = ["by the suite" if data.pop("own", False) else "by the server"]
            parts += [str(value) for value in (data.pop("code", None), data.pop("reason", "")) if value]
        case "refused" if "status" in data:
            parts = [f"with {data.pop('status') or 'no answer'}"]
        case "request":
            parts = [str(data.pop("method", "")), str(data.pop("url", ""))]
        case "response":
            parts = [str(data.pop("status", 0) or "no response")]
        case "note":
            parts = ["=", json.dumps(data.pop("value", None), ensure_ascii=False)]
        case "send" | "receive" if not entry.text:
            parts = ["(empty)"]
    text = [entry.text, *parts] if entry.kind == "note" else [*parts, entry.text]
    flags = [name for name, value in data.items() if value is True]
    others = [
        f"{name} {json.dumps(value, ensure_ascii=False)}" for name, value in data.items() if value not in _NOTHING
    ]
    return " ".join(part for part in (*text, *(f"({told})" for told in (*flags, *others))) if part)
