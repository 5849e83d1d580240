"""A run as one HTML file that needs nothing else, and runs no script but its own, whatever a server has answered."""

import base64
import hashlib
import html
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tracker_conformance.model import Entry, Result, Run, Verdict
from tracker_conformance.outcome import Outcome, is_known, outcome
from tracker_conformance.reports.wording import (
    alone,
    by_section,
    direction,
    harmless,
    in_words,
    requirements_of,
    shortened,
    tried,
)

__all__ = ["dumps"]

_MOST_CHARACTERS = 2000
_MOST_ENTRIES = 150  # of the first, and of the last
_OUT = ("send", "request")
_TO_LOOK_AT = (Verdict.ERROR, Verdict.FAIL, Verdict.UNTESTABLE, Verdict.WARN)
_LABELS = {
    Verdict.PASS: "passed",
    Verdict.FAIL: "failed",
    Verdict.WARN: "warned",
    Verdict.SKIP: "skipped",
    Verdict.UNTESTABLE: "untestable",
    Verdict.ERROR: "suite errors",
}


def dumps(run: Run, known: Mapping[str, str]) -> str:
    """A run as a page.

    :param known: see ``outcome``.
    """
    style, script = (Path(__file__).with_name(f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    policy = f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; base-uri 'none'"
    sections = by_section(run)
    came_to = outcome(run, known)
    return f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{"Conformant" if came_to.is_conformant else "Not conformant"} - {_text(run.target.get("ws", ""))}</title>
<style>{style}</style>
</head>
<body>
<h1>Conformance to the tracker protocol</h1>
{_head(run, came_to)}
{_counts(run, known)}
{_to_look_at(run, known)}
{_table(sections)}
{_filter(run)}
<main>
{"".join(_section(number, name, results, run, known) for number, (name, results) in enumerate(sections.items()))}
</main>
<footer>Written by tracker-conformance {_text(run.suite_version)}. This page loads nothing.</footer>
<script>{script}</script>
</body>
</html>
"""


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _text(text: str) -> str:
    """A text as HTML: in an element, or in an attribute that is quoted."""
    return html.escape(harmless(text))


def _prose(text: str) -> str:
    """A sentence with its code marked."""
    return re.sub(r"(`+)([^`]+)\1", r"<code>\2</code>", _text(text))


def _class(verdict: Verdict) -> str:
    return verdict.name


def _head(run: Run, came_to: Outcome) -> str:
    facts = {f"{name.capitalize() if name != 'ws' else 'WebSocket'} URL": url for name, url in run.target.items()}
    facts |= {
        "Specification": f"version {run.spec_version}",
        "Started": f"{run.started}, took {run.seconds:.1f} s",
        "An answer takes": f"{run.latency_s * 1000:.1f} ms" if run.latency_s else "",
    }
    listed = "".join(f"<dt>{_text(name)}</dt><dd>{_text(fact)}</dd>" for name, fact in facts.items() if fact)
    if run.command:
        listed += f"<dt>Command</dt><dd><code>{_text(run.command)}</code></dd>"
    problems = "".join(f"<p>{_text(problem)}</p>" for problem in came_to.problems)
    kind = " conformant" if came_to.is_conformant else ""
    return (
        f'<div class="outcome{kind}"><strong>{_text(came_to.headline)}</strong>{problems}</div>'
        f'<dl class="facts">{listed}</dl>'
    )


def _counts(run: Run, known: Mapping[str, str]) -> str:
    counts = Counter(result.judgement.verdict for result in run.results)
    items = [
        f'<li><b class="{_class(verdict)}">{counts[verdict]}</b>{_LABELS[verdict]}</li>'
        for verdict in Verdict
        if counts[verdict] or verdict in (Verdict.PASS, Verdict.FAIL)
    ]
    if are_known := sum(is_known(result, known) for result in run.results):
        items.append(f'<li><b class="known">{are_known}</b>known</li>')
    return f'<ul class="counts">{"".join(items)}</ul>'


def _to_look_at(run: Run, known: Mapping[str, str]) -> str:
    """What is not as it should be, what is worst first; untestable checks in one item for each reason."""
    items: list[str] = []
    for verdict in _TO_LOOK_AT:
        found = [result for result in run.results if result.judgement.verdict is verdict]
        groups = [[result] for result in found]
        if verdict is Verdict.UNTESTABLE:
            reasons = dict.fromkeys(result.judgement.reason for result in found)
            groups = [[result for result in found if result.judgement.reason == reason] for reason in reasons]
        items += [_item(verdict, group, known) for group in groups]
    return f'<h2>What to look at</h2><ul class="look">{"".join(items)}</ul>' if items else ""


def _item(verdict: Verdict, results: Sequence[Result], known: Mapping[str, str]) -> str:
    links = ", ".join(
        f'<a href="#{_text(result.check)}">{_text(result.check)}</a>{_known(result, known)}' for result in results
    )
    reason = _text(shortened(results[0].judgement.reason, 300))
    return (
        f'<li><span class="verdict {_class(verdict)}">{verdict}</span><div>{links} <small>{reason}</small></div></li>'
    )


def _known(result: Result, known: Mapping[str, str]) -> str:
    return f' <span class="known">known: {_text(known[result.check])}</span>' if is_known(result, known) else ""


def _table(sections: Mapping[str, Sequence[Result]]) -> str:
    rows = []
    for number, (name, results) in enumerate(sections.items()):
        counts = Counter(result.judgement.verdict for result in results)
        numbers = " ".join(
            f'<span class="{_class(verdict)}" title="{_LABELS[verdict]}">{counts[verdict]} {_LABELS[verdict]}</span>'
            for verdict in Verdict
            if counts[verdict]
        )
        rows.append(
            f'<tr data-section="s{number}"><td><a href="#s{number}">{_text(name)}</a></td>'
            f'<td class="bar">{_bar(counts)}</td><td class="numbers">{numbers}</td></tr>'
        )
    return f'<h2>By section</h2><table id="sections">{"".join(rows)}</table>' if rows else ""


def _bar(counts: Mapping[Verdict, int]) -> str:
    parts, begin = [], 0
    for verdict in Verdict:
        if counts[verdict]:
            parts.append(f'<rect class="{_class(verdict)}" x="{begin}" width="{counts[verdict]}" height="1"></rect>')
            begin += counts[verdict]
    return f'<svg viewBox="0 0 {begin} 1" preserveAspectRatio="none" aria-hidden="true">{"".join(parts)}</svg>'


def _filter(run: Run) -> str:
    verdicts = {result.judgement.verdict for result in run.results}
    boxes = "".join(
        f'<label class="{_class(verdict)}"><input type="checkbox" value="{_class(verdict)}">{_LABELS[verdict]}</label>'
        for verdict in Verdict
        if verdict in verdicts
    )
    return (
        '<div id="filter" hidden><input id="search" type="search" placeholder="Filter: a name, an id, a word"'
        f' aria-label="Filter by text">{boxes}<span id="shown" role="status"></span></div>'
    )


def _section(number: int, name: str, results: Iterable[Result], run: Run, known: Mapping[str, str]) -> str:
    checks = "\n".join(_check(result, run, known) for result in results)
    return f'<section class="checks" id="s{number}"><h2>{_text(name)}</h2>\n{checks}</section>\n'


def _check(result: Result, run: Run, known: Mapping[str, str]) -> str:
    judgement = result.judgement
    required = requirements_of(result)
    sentences = [f"<p><b>{_text(one.id)}</b> {_prose(one.sentence)}</p>" for one in required]
    found = " ".join([result.check, *result.requirements, result.title, *(one.sentence for one in required)])
    parts = [f"<h3>Required</h3>{''.join(sentences)}"] if sentences else []
    facts = {"Expected": judgement.expected, "Received": judgement.received}
    facts |= {} if judgement.expected else {"Reason": judgement.reason}
    facts |= {"Tries": tried(result)}
    parts += [f'<h3>{name}</h3><pre class="box">{_long(fact)}</pre>' for name, fact in facts.items() if fact]
    if command := alone(run, result.check):
        parts.append(f'<h3>This check alone</h3><pre class="box command">{_text(command)}</pre>')
    if result.entries:
        parts.append(f'<h3>Transcript</h3><ol class="transcript">{_transcript(result.entries)}</ol>')
    verdict = _class(judgement.verdict)
    return f"""\
<details class="check" id="{_text(result.check)}" data-verdict="{verdict}" data-text="{_text(found.lower())}">
<summary><span class="verdict {verdict}">{judgement.verdict}</span><span class="name">{_text(result.check)}\
{_known(result, known)}</span><span class="time">{result.seconds:.2f} s</span>\
<span class="title">{_prose(result.title)}</span></summary>
<div class="body">{"".join(parts)}</div>
</details>"""


def _transcript(entries: Sequence[Entry]) -> str:
    left_out = len(entries) - 2 * _MOST_ENTRIES
    if left_out <= 0:
        return "".join(map(_entry, entries))
    more = f'<li class="more"><span></span><span></span>{left_out} entries more; the run as JSON has them all</li>'
    return "".join([*map(_entry, entries[:_MOST_ENTRIES]), more, *map(_entry, entries[-_MOST_ENTRIES:])])


def _entry(entry: Entry) -> str:
    connection = f" #{entry.connection}" if entry.connection else ""
    headers = entry.data.get("headers")
    listed = f'<pre class="headers">{_long(_headers(headers))}</pre>' if headers else ""
    out = ' class="out"' if entry.kind in _OUT else ""
    return (
        f'<li{out}><span class="at">{entry.at_s:.3f} s</span><span class="what">{direction(entry)}{connection}</span>'
        f'<div class="text"><pre>{_long(in_words(entry))}</pre>{listed}</div></li>'
    )


def _headers(headers: object) -> str:
    if isinstance(headers, dict):
        return "\n".join(f"{name}: {value}" for name, value in headers.items())
    return json.dumps(headers)


def _long(text: str) -> str:
    """A text that may have lines and be very long."""
    return html.escape(harmless(shortened(text, _MOST_CHARACTERS), lines=True))
