"""Runs of the conformance suite that are made by hand, for what is done with runs."""

from typing import Any

from tracker_conformance.model import FORMAT, Entry, Facts, Judgement, Result, Run, Verdict
from tracker_conformance.registry import all_checks

HOSTILE = (
    "<script>document.title='owned'</script>\"><img src=x onerror=\"document.title='owned'\">"
    "</pre></script><script>document.title='owned'</script>' onmouseover='x' &lt;b&gt; "
    "\x1b[31mred\x1b[0m \x00 \x9b \r\n \u202egnal \ud83d \U0001f680 ]]> -->"
)
COMMAND = "tracker-conformance ws://127.0.0.1:1/ws --api-key-env 'A KEY'"
ENTRIES = (
    Entry(0.001, "open", 1, data={"deflated": True, "headers": {"server": "x"}}),
    Entry(0.0021, "send", 1, '{"type":"ingest","events":[]}'),
    Entry(0.003, "receive", 1, '{"type":"ack","saved":0}'),
    Entry(0.004, "receive", 1, "3 bytes: 01 02 03", {"binary": True}),
    Entry(0.005, "request", 0, "{}", {"method": "POST", "url": "http://127.0.0.1:1/e", "headers": {"Host": "x"}}),
    Entry(0.006, "response", 0, "no", {"status": 500, "headers": {}, "informational": [100], "problem": "cut"}),
    Entry(0.007, "refused", 2, data={"status": 404, "headers": {}}),
    Entry(0.008, "note", 0, "count", {"value": [1, None]}),
    Entry(5.009, "waited", 1, "an ack; none came within 5 s"),
    Entry(5.01, "close", 1, data={"code": 1008, "reason": "Unauthorized"}),
    Entry(5.011, "close", 2, data={"own": True}),
)


def a_result(check: str, verdict: Verdict = Verdict.PASS, **members: Any) -> Result:
    """The result of a real check, or of one that does not exist."""
    real = {known.name: known for known in all_checks()}.get(check)
    expected, received = ("a frame", "nothing") if verdict in (Verdict.FAIL, Verdict.WARN) else ("", "")
    reason = "" if verdict is Verdict.PASS else f"expected {expected}" if expected else "needs --write-url"
    defaults: dict[str, Any] = {
        "check": check,
        "requirements": real.ids if real is not None else ("GONE-1",),
        "title": real.title if real is not None else "A check of another release",
        "judgement": Judgement(verdict, reason, expected, received),
        "seconds": 0.25,
        "attempts": 1,
        "failures": int(verdict is Verdict.FAIL),
        "facts": Facts("tc-0-", has_key=False),
        "entries": ENTRIES,
    }
    return Result(**(defaults | members))


def a_run(*results: Result, **members: Any) -> Run:
    """A run with some results."""
    defaults: dict[str, Any] = {
        "format": FORMAT,
        "suite_version": "0.1.0",
        "spec_version": "1.0",
        "target": {"ws": "ws://127.0.0.1:1/ws", "write": "http://127.0.0.1:1/events"},
        "command": COMMAND,
        "started": "2026-11-25T01:02:03Z",
        "seconds": 1.5,
        "latency_s": 0.002,
        "results": results,
    }
    return Run(**(defaults | members))


def every_verdict(**members: Any) -> Run:
    """A run in which every verdict is there; ``frames.survives-binary`` fails, and so does ``queries.newest-first``."""
    return a_run(
        a_result("queries.newest-first", Verdict.FAIL),
        a_result("basics.connects"),
        a_result("frames.survives-binary", Verdict.FAIL, attempts=3, failures=3),
        a_result("frames.answers-binary", Verdict.WARN),
        a_result("basics.authenticates", Verdict.SKIP, entries=()),
        a_result("queries.open-windows", Verdict.UNTESTABLE, entries=()),
        a_result("frames.closes-on-bad-utf8", Verdict.ERROR),
        **members,
    )


def hostile() -> Run:
    """A run in which all that can come from a server, or from a file, is hostile."""
    entries = (
        Entry(0.1, "receive", 1, HOSTILE),
        Entry(0.2, "response", 0, HOSTILE, {"status": 200, "headers": {HOSTILE: HOSTILE}, HOSTILE: HOSTILE}),
        Entry(0.3, "close", 1, data={"code": 1000, "reason": HOSTILE}),
        Entry(0.4, "note", 0, HOSTILE, {"value": {HOSTILE: HOSTILE}}),
    )
    judgement = Judgement(Verdict.FAIL, HOSTILE, HOSTILE, HOSTILE)
    return a_run(
        a_result("frames.survives-binary", judgement=judgement, entries=entries),
        a_result(HOSTILE, title=HOSTILE, requirements=(HOSTILE,), judgement=judgement, entries=entries),
        target={"ws": f"ws://{HOSTILE}", HOSTILE: HOSTILE},
        command=HOSTILE,
        started=HOSTILE,
        suite_version=HOSTILE,
        spec_version=HOSTILE,
        problem=HOSTILE,
    )
