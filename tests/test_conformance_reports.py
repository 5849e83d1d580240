"""Reports of runs: JSON and back, JUnit XML, the page in a real browser, and the terminal."""

import html
import json
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

import attrs
import pytest
import trio
import xmlschema
from tracker_conformance.model import Entry, Judgement, Run, Verdict
from tracker_conformance.outcome import outcome
from tracker_conformance.reports import junit, page, saved
from tracker_conformance.reports.files import KINDS, write
from tracker_conformance.reports.terminal import Display
from tracker_conformance.reports.wording import alone, details, harmless, in_words

from tests.run_support import COMMAND, ENTRIES, HOSTILE, a_result, a_run, every_verdict, hostile
from tests.test_browser import BROWSER, FLAGS, kill_with_children

SCHEMA = xmlschema.XMLSchema(Path(__file__).with_name("junit-10.xsd"))
KNOWN = {"frames.survives-binary": "issue 12 <b>"}
IN_A_BROWSER = pytest.mark.skipif(BROWSER is None, reason="needs Chromium: apt-get install chromium")


class TestSaved:
    @pytest.mark.parametrize("run", [every_verdict(), hostile(), a_run(), a_run(problem="interrupted")])
    def test_there_and_back(self, run: Run) -> None:
        """A run is the same after it was saved, whatever is in its transcript; the file is ASCII."""
        text = saved.dumps(run)
        assert saved.loads(text) == run
        assert text.isascii()
        assert json.loads(text)["format"] == 1

    def test_verdicts_are_verdicts(self) -> None:
        """What is read back is no mere string."""
        found = saved.loads(saved.dumps(every_verdict()))
        assert all(type(result.judgement.verdict) is Verdict for result in found.results)

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("", "no saved run: it is not JSON"),
            ("<testsuites/>", "no saved run: it is not JSON"),
            ("[" * 100_000, "no saved run: it is not JSON"),
            ("null", "no saved run: expected what --report json=FILE writes"),
            ("[]", "no saved run: expected"),
            ('{"type":"auth"}', "no saved run: expected"),
            (saved.dumps(every_verdict())[:-20], "a saved run that is damaged; "),
        ],
    )
    def test_no_saved_run(self, text: str, told: str) -> None:
        """Another file is refused with what is wrong with it, and so is one that was cut."""
        with pytest.raises(saved.SavedError) as refused:
            saved.loads(text)
        assert str(refused.value).startswith(told)

    @pytest.mark.parametrize("version", [0, 2, "1", True, None])
    def test_another_format(self, version: object) -> None:
        """A run of another format is refused, and both formats are told."""
        with pytest.raises(saved.SavedError, match="this release reads format 1"):
            saved.loads(json.dumps({**json.loads(saved.dumps(every_verdict())), "format": version}))

    @pytest.mark.parametrize(
        ("path", "value", "told"),
        [
            (("command",), 5, "command: expected a string"),
            (("command",), ..., "command: missing"),
            (("extra",), 5, "the run: extra fields found (extra)"),
            (("seconds",), "1", "seconds: expected a number"),
            (("seconds",), True, "seconds: expected a number"),
            (("target",), [], "target: expected a mapping"),
            (("target", "ws"), None, "target['ws']: expected a string"),
            (("results",), {}, "results: expected an array"),
            (("results", 0), "x", "results[0]: expected an object"),
            (("results", 0, "attempts"), 1.5, "results[0].attempts: expected a whole number"),
            (("results", 0, "requirements"), "CONN-1", "results[0].requirements: expected an array"),
            (
                ("results", 0, "judgement", "verdict"),
                "GREAT",
                "results[0].judgement.verdict: expected one of PASS, FAIL,",
            ),
            (("results", 0, "facts", "has_key"), 0, "results[0].facts.has_key: expected true or false"),
            (
                ("results", 0, "entries", 2, "kind"),
                "sent",
                "results[0].entries[2].kind: expected one of open, refused,",
            ),
            (("results", 0, "entries", 2, "kind"), [], "results[0].entries[2].kind: expected one of open,"),
            (("results", 0, "entries", 2, "data"), 5, "results[0].entries[2].data: expected a mapping"),
        ],
    )
    def test_damaged(self, path: tuple[str | int, ...], value: object, told: str) -> None:
        """One wrong value is enough, and is named."""
        document = json.loads(saved.dumps(every_verdict()))
        place = document
        for step in path[:-1]:
            place = place[step]
        if value is ...:
            del place[path[-1]]
        else:
            place[path[-1]] = value
        with pytest.raises(saved.SavedError) as refused:
            saved.loads(json.dumps(document))
        assert str(refused.value).startswith(f"a saved run that is damaged; {told}")

    def test_much_damage(self) -> None:
        """Of many faults the first are told."""
        document = json.loads(saved.dumps(every_verdict()))
        for result in document["results"]:
            result["seconds"] = result["title"] = None
        with pytest.raises(saved.SavedError, match=r"; and 9 more$"):
            saved.loads(json.dumps(document))


class TestJUnit:
    @pytest.mark.parametrize(
        "run", [every_verdict(), hostile(), a_run(), a_run(problem="nobody listens"), every_verdict(problem="cut")]
    )
    @pytest.mark.parametrize("known", [{}, KNOWN])
    def test_schema(self, run: Run, known: dict[str, str]) -> None:
        """It is well-formed, and valid by the schema that Jenkins has for it."""
        SCHEMA.validate(junit.dumps(run, known))

    def test_verdicts(self) -> None:
        """Each verdict is what CI systems take it for."""
        found = ElementTree.fromstring(junit.dumps(every_verdict(), {}))
        outcomes = {
            case.get("name"): [(child.tag, child.get("message")) for child in case]
            for case in found.iterfind("testsuite/testcase")
        }
        assert outcomes == {
            "basics.connects": [],
            "frames.survives-binary": [("failure", "expected a frame")],
            "frames.answers-binary": [("system-out", None)],
            "frames.closes-on-bad-utf8": [("error", "needs --write-url")],
            "basics.authenticates": [("skipped", "needs --write-url")],
            "queries.newest-first": [("failure", "expected a frame")],
            "queries.open-windows": [("failure", "untestable: needs --write-url")],
        }
        assert [found.get(name) for name in ("tests", "failures", "errors", "time")] == ["7", "3", "1", "1.500"]

    def test_suites(self) -> None:
        """A suite is a section of the specification, in its order, with its own counts."""
        found = ElementTree.fromstring(junit.dumps(every_verdict(), {}))
        names = [suite.get("name") for suite in found]
        assert names == ["Connection and transport", "Frames", "Authentication", "Queries and responses"]
        frames = found[1]
        assert [frames.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["3", "1", "1", "0"]
        assert (frames.get("timestamp"), frames.get("hostname")) == ("2026-11-25T01:02:03", "127.0.0.1")

    def test_texts(self) -> None:
        """A failure and a warning say all that a person needs."""
        found = ElementTree.fromstring(junit.dumps(every_verdict(), {}))
        for name, tag in (("frames.survives-binary", "failure"), ("frames.answers-binary", "system-out")):
            text = found.findtext(f".//testcase[@name='{name}']/{tag}") or ""
            assert "A server SHOULD answer a binary message" in text
            assert "expected  a frame" in text
            assert f"{COMMAND} --select {name}" in text

    def test_known(self) -> None:
        """What is known to fail is skipped, with the reason."""
        found = ElementTree.fromstring(junit.dumps(every_verdict(), KNOWN))
        case = found.find(".//testcase[@name='frames.survives-binary']")
        assert case is not None
        assert [(child.tag, child.get("message")) for child in case] == [("skipped", "known: issue 12 <b>")]
        assert found.get("failures") == "2"

    def test_not_whole(self) -> None:
        """A run that is not whole is not green."""
        found = ElementTree.fromstring(junit.dumps(a_run(problem="nobody listens"), {}))
        assert [error.get("message") for error in found.iter("error")] == ["nobody listens"]
        assert found.get("errors") == "1"

    def test_controls(self) -> None:
        """Characters that XML cannot hold are gone; the rest of the text is there."""
        text = junit.dumps(hostile(), {})
        messages = [failure.get("message") or "" for failure in ElementTree.fromstring(text).iter("failure")]
        assert len(messages) == 2
        for message in messages:
            assert message.startswith("<script>document.title='owned'</script>")
            assert "[31mred[0m" in message
            assert "\U0001f680 ]]> -->" in message


class Tree(HTMLParser):
    """The elements of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))


class TestPage:
    @pytest.mark.parametrize("run", [every_verdict(), hostile(), a_run(problem="nobody listens")])
    def test_self_contained(self, run: Run) -> None:
        """It loads nothing, has no script but its own, and no handler in an attribute."""
        elements = Tree(page.dumps(run, KNOWN)).elements
        assert [tag for tag, _ in elements].count("script") == 1
        assert not {tag for tag, _ in elements} & {"link", "img", "iframe", "object", "embed", "base", "form"}
        for _, attributes in elements:
            assert not [name for name in attributes if name.startswith("on") or name in ("src", "style", "srcset")]
            assert attributes.get("href", "#") == "#" or str(attributes["href"]).startswith("#")
        assert "url(" not in page.dumps(run, KNOWN)

    def test_nothing_unescaped(self) -> None:
        """Whatever is hostile is text, and no control characters are left of it."""
        text = page.dumps(hostile(), {"frames.survives-binary": HOSTILE})
        assert "<script>document" not in text
        assert "<img" not in text
        assert re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", text) is None
        assert html.escape("<script>document.title='owned'</script>") in text

    def test_content(self) -> None:
        """Requirements, what was expected and received, the command and the transcript are there."""
        text = page.dumps(every_verdict(), KNOWN)
        for expected in (
            "The suite itself failed",
            "<b>FRAME-6</b> A server SHOULD answer a binary message with an <code>error</code> frame",
            "<h3>Expected</h3>",
            "known: issue 12 &lt;b&gt;",
            html.escape(f"{COMMAND} --select frames.survives-binary"),
            "5.009 s",
            "POST http://127.0.0.1:1/e",
            "with permessage-deflate",
            "tried 3 times, failed 3",
            '<b class="FAIL">2</b>failed',
        ):
            assert expected in text, expected

    def test_long(self) -> None:
        """A long text is abbreviated, and so is a transcript of many entries."""
        entries = [Entry(0.1, "receive", 1, "x" * 1_000_000), *[Entry(0.2, "receive", 1, "y")] * 5_000]
        text = page.dumps(a_run(a_result("basics.connects", entries=tuple(entries))), {})
        assert len(text) < 200_000
        assert "… (1000000 characters)" in text
        assert "4701 entries more" in text

    @IN_A_BROWSER
    async def test_hostile_in_a_browser(self) -> None:
        """In Chromium nothing of what a server has answered runs; the page's own script does."""
        seen = await in_a_frame(page.dumps(hostile(), {}), "return [doc.title, doc.getElementById('filter').hidden]")
        assert seen[0].startswith("Not conformant - ws://<script>")
        assert seen[1] is False

    @IN_A_BROWSER
    async def test_filter_in_a_browser(self) -> None:
        """The text and the verdicts filter; sections without a check are gone; a link opens its check."""
        seen = await in_a_frame(
            page.dumps(every_verdict(), KNOWN),
            """
            const names = () => [...doc.querySelectorAll('details.check:not([hidden])')].map((check) => check.id);
            const type = (text) => {
              const search = doc.getElementById('search');
              search.value = text;
              search.dispatchEvent(new Event('input'));
              return names();
            };
            const tick = (verdict) => {
              doc.querySelector(`#filter input[value=${verdict}]`).click();
              return names();
            };
            const seen = [names().length, type('binary FRAME-6'), tick('WARN'), type('utf-8'), tick('WARN')];
            seen.push(doc.querySelectorAll('section.checks:not([hidden])').length);
            seen.push(doc.getElementById('shown').textContent);
            type('');
            seen.push(type('no such text').length);
            frame.contentWindow.location.hash = '#queries.newest-first';
            await new Promise((resolve) => setTimeout(resolve, 200));
            seen.push(names().length, [...doc.querySelectorAll('details[open]')].map((check) => check.id));
            return seen;
            """,
        )
        assert seen == [
            7,
            ["frames.survives-binary", "frames.answers-binary"],
            ["frames.answers-binary"],
            [],
            ["frames.closes-on-bad-utf8"],
            1,
            "1 of 7 checks",
            0,
            7,
            ["queries.newest-first"],
        ]

    @IN_A_BROWSER
    @pytest.mark.parametrize("width", [1280, 375])
    async def test_width_in_a_browser(self, width: int) -> None:
        """Nothing is wider than the window, with every check open."""
        seen = await in_a_frame(
            page.dumps(every_verdict(), KNOWN),
            "for (const check of doc.querySelectorAll('details')) check.open = true;"
            "return [doc.documentElement.scrollWidth, frame.contentWindow.innerWidth]",
            width=width,
        )
        assert seen[0] <= seen[1] == width


@asynccontextmanager
async def pages(contents: Mapping[str, str]) -> AsyncGenerator[str, None]:
    """Pages over HTTP; yields the origin."""

    async def serve(stream: trio.SocketStream) -> None:
        received = b""
        while b"\r\n\r\n" not in received:
            chunk = await stream.receive_some()
            if not chunk:
                return
            received += chunk
        body = contents.get(received.split()[1].decode(), "").encode("utf-8")
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        await stream.send_all(head.encode() + body)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def in_a_frame(report: str, script: str, width: int = 1280) -> Any:
    """What a script returns that looks into a report in a frame of a browser; ``doc`` is the report's document."""
    outer = f"""<!DOCTYPE html><iframe src="/report" width="{width}" height="900" style="border:0"></iframe><pre></pre>
    <script>
    const frame = document.querySelector('iframe');
    frame.onload = async () => {{
      const doc = frame.contentDocument;
      const seen = await (async () => {{ {script} }})();
      document.querySelector('pre').textContent = 'seen' + JSON.stringify(seen) + 'end';
    }};
    </script>"""
    assert BROWSER is not None
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile, trio.fail_after(60):
        async with pages({"/": outer, "/report": report}) as origin:
            options = [*FLAGS, f"--user-data-dir={profile}", "--virtual-time-budget=5000", "--dump-dom"]
            ended = await trio.run_process(
                [BROWSER, *options, origin],
                capture_stdout=True,
                capture_stderr=True,
                start_new_session=True,
                deliver_cancel=kill_with_children,
            )
    found = re.search("seen(.*)end</pre>", ended.stdout.decode(), re.DOTALL)
    assert found is not None, ended.stdout.decode()
    return json.loads(html.unescape(found[1]))


class TestTerminal:
    def test_end(self, capsys: pytest.CaptureFixture[str]) -> None:
        """At the end comes everything about each failure and warning, then what it comes to."""
        run = every_verdict()
        display = Display(KNOWN)
        display.end(run, outcome(run, KNOWN))
        told = capsys.readouterr().out
        assert "\x1b" not in told
        assert told.count("alone  ") == 4
        for expected in (
            "FRAME-6  A server SHOULD answer a binary message with an `error` frame",
            '0.002 s  #1 sent {"type":"ingest","events":[]}',
            "0.005 s  sent POST http://127.0.0.1:1/e {}",
            '0.006 s  received 500 no (informational [100]) (problem "cut")',
            "5.010 s  #1 closed by the server 1008 Unauthorized",
            "expected  a frame\n    received  nothing\n       tries  tried 3 times, failed 3\n",
            f"alone  {COMMAND} --select frames.survives-binary\n",
            "(known: issue 12 <b>)",
            "7 checks in 1.5 s: 1 passed, 2 failed, 1 warning, 1 skipped, 1 untestable, 1 error of the suite\n",
        ):
            assert expected in told, expected
        assert told.endswith("The suite itself failed; its results are not whole.\n")

    def test_results(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Where there is no terminal, each result is a line, but for what was skipped."""
        with Display(KNOWN, ["frames.survives-binary"]) as display:
            for result in every_verdict().results:
                display.result(result)
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 6
        assert lines[1] == "PASS           basics.connects          0.25 s"
        assert lines[2] == "FAIL           frames.survives-binary   0.25 s  known: issue 12 <b>"
        assert lines[5].startswith("HARNESS ERROR  frames.closes-on-bad-utf8   0.25 s  needs")

    def test_skipped(self, capsys: pytest.CaptureFixture[str]) -> None:
        """What was skipped is a line for each reason, at the end."""
        needs = Judgement(Verdict.SKIP, "needs --write-url")
        other = Judgement(Verdict.SKIP, "it is not offered")
        names = {"http.takes-batches": needs, "push.subscriptions": other, "http.takes-plain-text": needs}
        run = a_run(*(attrs.evolve(a_result(name), judgement=judgement) for name, judgement in names.items()))
        Display({}).end(run, outcome(run, {}))
        lines = capsys.readouterr().out.splitlines()
        assert lines[1:3] == [
            "SKIP           needs --write-url  2 checks: http.takes-batches, http.takes-plain-text",
            "SKIP           it is not offered  push.subscriptions",
        ]

    def test_hostile(self, capsys: pytest.CaptureFixture[str]) -> None:
        """No control character of what a server has answered reaches the terminal, and no markup is read in it."""
        run = attrs.evolve(hostile(), target={"ws": "[bold]x[/bold]"}, problem="[red]\x1b[31m")
        display = Display({"frames.survives-binary": HOSTILE})
        for result in run.results:
            display.result(result)
        display.end(run, outcome(run, {}))
        told = capsys.readouterr().out
        assert re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", told) is None
        assert "\\x1b[31mred" in told
        assert "[red]\\x1b[31m" in told


class TestWording:
    def test_harmless(self) -> None:
        """What can be printed stays; what cannot is told."""
        assert harmless("Größe 🚀 <b>") == "Größe 🚀 <b>"
        assert harmless("a\n\tb\x1b\x9b\u202e\ud83d") == r"a\n\tb\x1b\x9b\u202e\ud83d"
        assert harmless("a\n\tb\r", lines=True) == "a\n\tb\\r"

    def test_alone(self) -> None:
        """The command is that of the run, and one check; a name that is none is quoted."""
        assert alone(a_run(), "frames.survives-binary") == f"{COMMAND} --select frames.survives-binary"
        assert alone(a_run(), "x; rm -rf /") == f"{COMMAND} --select 'x; rm -rf /'"
        assert alone(a_run(command=""), "frames.survives-binary") == ""

    def test_entries(self) -> None:
        """Each kind of entry has its words."""
        assert [in_words(entry) for entry in ENTRIES] == [
            "with permessage-deflate",
            '{"type":"ingest","events":[]}',
            '{"type":"ack","saved":0}',
            "3 bytes: 01 02 03 (binary)",
            "POST http://127.0.0.1:1/e {}",
            '500 no (informational [100]) (problem "cut")',
            "with 404",
            "count = [1, null]",
            "an ack; none came within 5 s",
            "by the server 1008 Unauthorized",
            "by the suite",
        ]
        assert in_words(Entry(0, "send", 1, "")) == "(empty)"
        assert in_words(Entry(0, "refused", 0, "ws://x: no route")) == "ws://x: no route"
        assert in_words(Entry(0, "refused", 1, data={"status": None})) == "with no answer"
        assert in_words(Entry(0, "response", 0, data={"status": 0})) == "no response"

    def test_many_entries(self) -> None:
        """Of many entries the first and the last are told."""
        entries = tuple(Entry(number, "receive", 1, f"e{number}") for number in range(100))
        told = details(a_run(), a_result("basics.connects", entries=entries))
        assert "e11\n" in told
        assert "… 76 entries more …" in told
        assert "e88\n" in told
        assert "e50" not in told


class TestOutcome:
    @pytest.mark.parametrize(
        ("run", "known", "status"),
        [
            (a_run(a_result("basics.connects")), {}, 0),
            (a_run(a_result("frames.answers-binary", Verdict.WARN)), {}, 0),
            (a_run(a_result("frames.survives-binary", Verdict.FAIL)), {}, 1),
            (a_run(a_result("frames.survives-binary", Verdict.FAIL)), KNOWN, 0),
            (a_run(a_result("frames.survives-binary", Verdict.WARN)), KNOWN, 0),
            (a_run(a_result("basics.connects"), a_result("frames.survives-binary", Verdict.UNTESTABLE)), {}, 1),
            (a_run(a_result("basics.connects"), a_result("frames.survives-binary", Verdict.UNTESTABLE)), KNOWN, 0),
            (a_run(a_result("frames.survives-binary", Verdict.UNTESTABLE)), KNOWN, 1),
            (a_run(a_result("frames.survives-binary")), KNOWN, 1),
            (a_run(a_result("basics.connects"), a_result("frames.survives-binary", Verdict.SKIP)), KNOWN, 0),
            (a_run(a_result("basics.connects")), KNOWN, 0),
            (a_run(a_result("basics.connects", Verdict.SKIP)), {}, 1),
            (a_run(), {}, 1),
            (a_run(a_result("basics.connects"), problem="interrupted"), {}, 1),
            (every_verdict(), KNOWN, 4),
            (a_run(a_result("frames.survives-binary", Verdict.ERROR)), KNOWN, 4),
        ],
    )
    def test_status(self, run: Run, known: dict[str, str], status: int) -> None:
        """What the exit status is."""
        found = outcome(run, known)
        assert (found.status, found.is_conformant) == (status, status == 0)

    def test_problems(self) -> None:
        """What is said besides."""
        stale = outcome(a_run(a_result("frames.survives-binary")), KNOWN)
        assert stale.problems == ("frames.survives-binary is known to fail, but passes; take it out of the baseline",)
        nothing = outcome(a_run(a_result("basics.connects", Verdict.SKIP)), {})
        assert nothing.problems == ("nothing was tried: every check was skipped or could not be tested",)
        assert outcome(a_run(problem="nobody listens"), {}).problems == ("nobody listens",)


def test_files(tmp_path: Path) -> None:
    """Every kind is written; what cannot be is told, and the others are written all the same."""
    files = {kind: tmp_path / f"report.{kind}" for kind in KINDS}
    files["junit"] = tmp_path / "nowhere" / "report.xml"
    [problem] = write(every_verdict(), KNOWN, files)
    assert problem == f"--report: {files['junit']} cannot be written: No such file or directory"
    assert saved.loads(files["json"].read_text("utf-8")) == every_verdict()
    assert files["html"].read_text("utf-8").startswith("<!DOCTYPE html>")
