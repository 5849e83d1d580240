"""``tracker-conformance`` as a process of its own: what it prints, writes and returns."""

import json
import os
import re
import shlex
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from xml.etree import ElementTree

import pytest
import trio
from tracker_conformance import Verdict, all_checks, cli, judging
from tracker_conformance.reports import saved

from tests.command import DEADLINE_S, Ended, environment, run
from tests.conformance.mutants.connection import NoDeflate
from tests.conformance.reference import running as running_reference
from tests.run_support import a_result, a_run, every_verdict
from tests.support import ROOT, Running, running
from tests.test_conformance_reports import SCHEMA

MODULE = (sys.executable, "-m", "tracker_conformance")
SCRIPT = (str(Path(sys.executable).with_name("tracker-conformance")),)
NOWHERE = "ws://127.0.0.1:1/ws"
FEW = "basics,frames.survives-binary"
KEY = {"TRACKER_KEY": "s3cret/+"}


async def judge(*arguments: str, variables: dict[str, str] | None = None) -> Ended:
    """Run the command to its end."""
    return await run(*arguments, command=MODULE, variables=variables)


def main(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> Ended:
    """Run what needs no server to its end, in this process."""
    try:
        status = cli.main(arguments)
    except SystemExit as stopped:
        status = int(str(stopped.code))
    told = capsys.readouterr()
    return Ended(status, told.out, told.err)


def files(directory: Path) -> tuple[str, dict[str, Path]]:
    """An option for every kind of report, and the files."""
    paths = {kind: directory / f"report.{kind}" for kind in ("junit", "json", "html")}
    return ",".join(f"{kind}={path}" for kind, path in paths.items()), paths


@asynccontextmanager
async def silent() -> AsyncGenerator[str, None]:
    """Somebody who listens, and says nothing; yields the URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/ws"


def not_there(server: Running) -> tuple[str, str]:
    """An option that makes a server fail: HTTP ingest is not where it is said to be."""
    return "--write-url", f"http://{server.address}/nowhere"


class TestUsage:
    @pytest.mark.parametrize("command", [MODULE, SCRIPT], ids=["module", "script"])
    async def test_help(self, command: tuple[str, ...]) -> None:
        """The help tells options, exit statuses and examples, whichever way it is called."""
        if not Path(command[0]).exists():
            pytest.skip("the script is not installed next to this Python")
        told = await run("--help", command=command)
        assert told.is_clean
        assert told.output.startswith("usage: tracker-conformance URL [OPTION ...]\n")
        for expected in ("--api-key-env NAME", "--baseline FILE", "130 interrupted", "examples:\n", "[known]"):
            assert expected in told.output
        rejudging = await run("rejudge", "--help", command=command)
        assert rejudging.is_clean
        assert "tracker-conformance rejudge run.json" in rejudging.output

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            ([], "URL: expected the server's wsEndpoint, such as ws://"),
            (["127.0.0.1:4242"], "URL: expected a WebSocket URL, ws:// or wss://, such as "),
            (["http://h/ws"], "URL: expected a WebSocket URL, ws:// or wss://, such as "),
            (["ws://"], "URL: expected a URL with a host"),
            (["ws://h:99999/"], "URL: expected a URL such as "),
            (["ws://[h/"], "URL: expected a URL such as "),
            (["ws://user:s3cret@h/"], "URL: expected a URL without a user or password; "),
            (["ws://h/#s3cret"], "URL: expected a URL such as "),
            (["ws://h/a b"], "URL: expected a URL such as "),
            ([NOWHERE, "--write-url", "ws://h/s3cret"], "--write-url: expected an HTTP URL, "),
            ([NOWHERE, "--read-url", ""], "--read-url: expected an HTTP URL, "),
            ([NOWHERE, "--api-key-env", "s3cret"], "--api-key-env: expected the name of an environment variable, "),
            ([NOWHERE, "--api-key-env", "NO_KEY"], "--api-key-env: NO_KEY is not set; "),
            ([NOWHERE, "--api-key-env", "EMPTY_KEY"], "--api-key-env: EMPTY_KEY is empty; "),
            ([NOWHERE, "--ingest-key-env", "NO_KEY"], "--ingest-key-env: NO_KEY is not set; "),
            ([NOWHERE, "--query-key-env", "s3cret"], "--query-key-env: expected the name of an environment variable, "),
            ([NOWHERE, "--app-key-env", "APP_KEY"], "--app-key-env: expected --api-key-env beside it"),
            ([NOWHERE, "--app-id", ""], "--app-id: expected a text that is not empty"),
            (
                [NOWHERE, "--origin", "shop.example"],
                "--origin: expected the origin of a page, such as http://localhost",
            ),
            ([NOWHERE, "--origin", "https://shop.example/"], "--origin: expected the origin of a page, such as "),
            ([NOWHERE, "--origin", "https://s3cret@shop.example"], "--origin: expected the origin of a page, such as "),
            ([NOWHERE, "--origin", "https://shop.example:x"], "--origin: expected the origin of a page, such as "),
            ([NOWHERE, "--origin", "null"], "--origin: expected the origin of a page, such as "),
            ([NOWHERE, "--ca", "no.pem"], "--ca: no.pem: cannot be read: No such file or directory; expected a file "),
            ([NOWHERE, "--ca", "README.md"], "--ca: README.md: no certificates in PEM; expected a file with "),
            ([NOWHERE, "--ca", "tests"], "--ca: tests: "),
            ([NOWHERE, "--timeout-scale", "0"], "--timeout-scale: expected a number above 0, "),
            ([NOWHERE, "--timeout-scale", "nan"], "--timeout-scale: expected a number above 0, "),
            ([NOWHERE, "--timeout-scale", "inf"], "--timeout-scale: expected a number above 0, "),
            ([NOWHERE, "--timeout-scale", "fast"], "--timeout-scale: expected a number above 0, "),
            ([NOWHERE, "--select", "frame"], "--select: frame matches no check; did you mean frames?"),
            ([NOWHERE, "--select", "frames,AUTH-X"], "--select: AUTH-X matches no check; did you mean AUTH-"),
            ([NOWHERE, "--select", "zzz*"], "--select: zzz* matches no check; --list shows all"),
            ([NOWHERE, "--select", "frames,"], "--select: expected names, sections or ids, parted by commas; "),
            ([NOWHERE, "--exclude", "zzz*"], "--exclude: zzz* matches no check; --list shows all"),
            (["--list", "--select", "zzz*"], "--select: zzz* matches no check; --list shows all"),
            ([NOWHERE, "--select", "frames", "--exclude", "*"], "--select frames and --exclude *: no check is left"),
            ([NOWHERE, "--select", "CONN-3", "--level", "must"], "--select CONN-3 and --level must: no check is left"),
            ([NOWHERE, "--report", "xml=a.xml"], "--report: xml=a.xml: expected KIND=FILE with one of the kinds "),
            ([NOWHERE, "--report", "json="], "--report: json=: expected KIND=FILE with one of the kinds "),
            ([NOWHERE, "--report", "json"], "--report: json: expected KIND=FILE with one of the kinds "),
            ([NOWHERE, "--report", "json=a,json=b"], "--report: json=b: expected each kind and each file once"),
            ([NOWHERE, "--report", "json=a,html=a"], "--report: html=a: expected each kind and each file once"),
            ([NOWHERE, "--report", "json=no/a"], "--report: no/a: there is no directory no"),
            ([NOWHERE, "--report", "json=tests"], "--report: tests: expected a file that can be written"),
            (
                [NOWHERE, "--api-key-env", "SHORT_KEY"],
                "--api-key-env: the key in SHORT_KEY cannot be told from other text",
            ),
            (
                [NOWHERE, "--api-key-env", "WORD_KEY"],
                "--api-key-env: the key in WORD_KEY cannot be told from other text",
            ),
            ([NOWHERE, "--baseline", "no.toml"], "--baseline: no.toml: cannot be read: No such file or directory"),
            ([NOWHERE, "--baseline", "README.md"], "--baseline: README.md: expected TOML: "),
            ([NOWHERE, "--baseline", "pyproject.toml"], "--baseline: pyproject.toml: expected one table [known], "),
            (["rejudge", "no.json"], "FILE: no.json cannot be read: No such file or directory"),
            (["rejudge", "README.md"], "FILE: README.md is no saved run: it is not JSON; "),
            (["rejudge", "tests"], "FILE: tests cannot be read: Is a directory"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_wrong(
        self,
        arguments: list[str],
        told: str,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """What is wrong ends with 2 and one line that says what would be right, and repeats nothing that is secret."""
        monkeypatch.setenv("EMPTY_KEY", " ")
        monkeypatch.setenv("SHORT_KEY", "a{1")
        monkeypatch.setenv("WORD_KEY", "timestamp")
        monkeypatch.setenv("APP_KEY", "s3cret-1")
        monkeypatch.chdir(ROOT)
        refused = main(arguments, capsys)
        assert (refused.status, refused.output) == (2, "")
        assert refused.errors.startswith(f"tracker-conformance: {told}")
        assert refused.errors.count("\n") == 1
        assert "s3cret" not in refused.errors

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["--api-key", "s3cret", NOWHERE], "--api-key: no such option; did you mean --api-key-env?"),
            (["--api-key=s3cret", NOWHERE], "--api-key: no such option; did you mean --api-key-env?"),
            ([NOWHERE, "--sel", "frames"], "--sel: no such option; did you mean --select?"),
            ([NOWHERE, "s3cret"], "expected one URL or file only; each option begins with --"),
            ([NOWHERE, "--level", "most"], "argument --level: invalid choice: 'most'"),
            (["rejudge"], "the following arguments are required: FILE"),
        ],
    )
    def test_unknown(self, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
        """What is no option ends with 2 and the usage."""
        refused = main(arguments, capsys)
        assert (refused.status, refused.output) == (2, "")
        assert told in refused.errors.splitlines()[-1]
        assert "s3cret" not in refused.errors

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ('[known]\n"frames.nix" = "why"', "frames.nix: there is no such check; --list shows all"),
            ('[known]\nframes.survives-binary = "why"', "frames: there is no such check; put the name in quotes"),
            ('[known]\n"frames.survives-binary" = ""', "frames.survives-binary: expected the reason, "),
            ('[known]\n"frames.survives-binary" = 5', "frames.survives-binary: expected the reason, "),
            ("known = 5", "expected one table [known], "),
            ("[known]\n[other]", "expected one table [known], "),
            ("", "expected one table [known], "),
            ("[known", "expected TOML: "),
            ("\xff", "expected TOML: "),
        ],
    )
    def test_wrong_baseline(self, tmp_path: Path, text: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
        """A baseline that is wrong is refused before anything is tried."""
        baseline = tmp_path / "known.toml"
        baseline.write_text(text, "latin-1")
        refused = main([NOWHERE, "--baseline", str(baseline)], capsys)
        assert (refused.status, refused.output) == (2, "")
        assert refused.errors.startswith(f"tracker-conformance: --baseline: {baseline}: {told}")


class TestList:
    def test_all(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Every check is listed with its level, its requirements and its title, and no URL is needed."""
        listed = main(["--list"], capsys)
        assert listed.is_clean
        assert [line.split()[0] for line in listed.output.splitlines()] == [check.name for check in all_checks()]
        assert re.match(r"basics\.connects +must +CONN-1 CONN-2 +Completes an opening handshake", listed.output)

    async def test_selected(self) -> None:
        """Only what is selected is listed; an id, a section and wildcards all select."""
        listed = await judge(
            "--list", "--select", "CONN-3, frames.surv*,basics", "--exclude", "*binary", "--level", "should"
        )
        names = [line.split()[0] for line in listed.output.splitlines()]
        assert "connection.agrees-to-deflate" in names
        assert "basics.round-trip" in names
        assert "frames.survives-empty" in names
        assert "frames.survives-binary" not in names

    async def test_closed_output(self) -> None:
        """Nobody has to read it to the end."""
        reader, writer = os.pipe()
        os.close(reader)
        process = await trio.run_process([*MODULE, "--list"], stdout=writer, capture_stderr=True, check=False)
        os.close(writer)
        assert (process.returncode, process.stderr) == (0, b"")


class TestConformant:
    async def test_reports(self, server: Running, tmp_path: Path) -> None:
        """A server that conforms is told so, with 0; all reports are there, and say the same."""
        option, paths = files(tmp_path)
        judged = await judge(server.ws_url, "--select", FEW, "--report", option)
        assert judged.is_clean, judged
        lines = judged.output.splitlines()
        assert lines[0].startswith("PASS  ")
        assert re.fullmatch(r"4 checks in \d+\.\d s: 3 passed, 1 skipped", lines[-2])
        assert lines[-1] == "What was tried conforms to version 1.0 of the protocol."
        found = saved.loads(paths["json"].read_text("utf-8"))
        verdicts = [result.judgement.verdict for result in found.results]
        assert verdicts == [Verdict.PASS, Verdict.SKIP, Verdict.PASS, Verdict.PASS]
        assert found.command == f"tracker-conformance {server.ws_url}"
        assert found.target == {"ws": server.ws_url}
        assert all(result.entries for result in found.results if result.judgement.verdict is Verdict.PASS)
        SCHEMA.validate(paths["junit"].read_text("utf-8"))
        assert "What was tried conforms" in paths["html"].read_text("utf-8")

    async def test_key(self, locked_oddly: Running, tmp_path: Path) -> None:
        """With a key, it is nowhere to be read: neither in what is printed nor in a report, URLs included."""
        option, paths = files(tmp_path)
        base = f"http://{locked_oddly.address}/_tracker"
        judged = await judge(
            f"{locked_oddly.ws_url}?key={KEY['TRACKER_KEY']}",
            *("--read-url", base, "--write-url", f"{base}/nowhere"),
            *("--api-key-env", "TRACKER_KEY", "--select", "basics,auth.wrong-keys,http,http-read", "--report", option),
            variables=KEY,
        )
        assert judged.status == 1, judged
        assert "PASS           basics.authenticates" in judged.output
        assert "PASS           auth.wrong-keys" in judged.output
        assert f"{locked_oddly.ws_url}?key=[key]" in judged.output
        assert "--api-key-env TRACKER_KEY --select " in judged.output
        for text in [judged.output, judged.errors, *(path.read_text("utf-8") for path in paths.values())]:
            assert "s3cret" not in text

    async def test_warning(self) -> None:
        """A SHOULD that is not met is told of, and changes nothing."""
        async with running_reference(NoDeflate()) as urls:
            judged = await judge(urls.ws, "--select", "connection.agrees-to-deflate")
        assert (judged.status, judged.errors) == (0, "")
        assert judged.output.startswith("WARN  ")
        assert "  CONN-3  A server SHOULD agree to permessage-deflate" in judged.output
        assert f"       alone  tracker-conformance {urls.ws} --select connection.agrees-to-deflate\n" in judged.output

    async def test_read_only(self, server: Running) -> None:
        """With ``--read-only`` nothing is saved."""
        judged = await judge(
            server.ws_url, "--read-only", "--select", "basics,connection,queries", "--app-id", "o'hara"
        )
        assert "left out by --read-only" in judged.output
        assert judged.status == 0
        async with server.client() as client:
            assert await client.events() == []


@pytest.fixture
async def locked_oddly() -> AsyncGenerator[Running, None]:
    """A server with a key that a URL has to escape."""
    async with running(api_key=KEY["TRACKER_KEY"]) as it:
        yield it


class TestNotConformant:
    async def test_failure(self, server: Running) -> None:
        """A failure ends with 1, and tells all there is to know; the command that it tells fails alike."""
        judged = await judge(
            server.ws_url,
            *not_there(server),
            *("--select", "http.takes-batches,http.takes-plain-text", "--timeout-scale", "0.5", "--app-id", "o'hara"),
        )
        assert (judged.status, judged.errors) == (1, "")
        assert re.search(r"^FAIL        +http\.takes-batches +\d\.\d\d s  expected ", judged.output, re.MULTILINE)
        assert re.search(r"^UNTESTABLE +http\.takes-plain-text .*has to pass first$", judged.output, re.MULTILINE)
        assert "\nFAIL  http.takes-batches  Accepts a `POST`" in judged.output
        for expected in ("HTTP-1  A server MUST ", " sent POST http://", " received 404 ", "expected  ", "received  "):
            assert f"  {expected}" in judged.output or expected in judged.output
        assert judged.output.endswith("Does not conform to version 1.0 of the protocol.\n")
        alone = re.search(r"^ +alone  (tracker-conformance .*)$", judged.output, re.MULTILINE)
        assert alone is not None
        words = shlex.split(alone[1])
        assert words[-2:] == ["--select", "http.takes-batches"]
        assert "--timeout-scale 0.5" in alone[1]
        assert "o'hara" in words
        again = await judge(*words[1:])
        assert (again.status, again.errors) == (1, "")

    async def test_nothing_tried(self, server: Running) -> None:
        """Where everything was skipped, that is not green."""
        judged = await judge(server.ws_url, "--select", "auth.wrong-keys")
        assert (judged.status, judged.errors) == (1, "")
        assert "nothing was tried: every check was skipped or could not be tested\n" in judged.output

    async def test_baseline(self, server: Running, tmp_path: Path) -> None:
        """What is known to fail is shown as known, and does not count."""
        baseline = tmp_path / "known.toml"
        baseline.write_text(
            '[known]\n"http.takes-batches" = "issue 12"\n"frames.answers-binary" = "not tried"', "utf-8"
        )
        option, paths = files(tmp_path)
        arguments = (server.ws_url, *not_there(server), "--select", "http.takes-batches", "--baseline", str(baseline))
        judged = await judge(*arguments, "--report", option)
        assert judged.is_clean
        assert "known: issue 12" in judged.output
        assert judged.output.endswith("of the protocol, but for what is known.\n")
        assert ElementTree.fromstring(paths["junit"].read_text("utf-8")).get("failures") == "0"
        assert "known: issue 12" in paths["html"].read_text("utf-8")
        stale = await judge(*arguments[:1], "--select", "frames.answers-binary", "--baseline", str(baseline))
        assert (stale.status, stale.errors) == (1, "")
        assert "frames.answers-binary is known to fail, but passes; take it out of the baseline\n" in stale.output


class TestNotWhole:
    @pytest.mark.parametrize("options", [(), ("--deflate",)])
    async def test_no_tls(self, options: tuple[str, ...]) -> None:
        """Where TLS is asked for and not spoken, it ends with 3 and says so."""
        async with running() as server:
            judged = await judge(f"wss://{server.address}/_tracker/ws", *options)
        assert (judged.status, judged.output) == (3, "")
        assert "TLS: " in judged.errors

    async def test_unreachable(self, tmp_path: Path) -> None:
        """Where nobody listens, it ends with 3 and one line; the reports say so, and are not green."""
        option, paths = files(tmp_path)
        judged = await judge(NOWHERE, "--report", option)
        assert (judged.status, judged.output) == (3, "")
        assert judged.errors.startswith(f"tracker-conformance: nobody listens: {NOWHERE}: ")
        assert judged.errors.count("\n") == 1
        found = saved.loads(paths["json"].read_text("utf-8"))
        assert found.results == ()
        assert found.problem.startswith("nobody listens")
        SCHEMA.validate(paths["junit"].read_text("utf-8"))
        assert ElementTree.fromstring(paths["junit"].read_text("utf-8")).get("errors") == "1"
        assert "nobody listens" in paths["html"].read_text("utf-8")

    async def test_interrupted_at_once(self, tmp_path: Path) -> None:
        """Ctrl-C ends it with 130 and one line, though the server says nothing; the reports are written."""
        option, paths = files(tmp_path)
        async with silent() as url:
            ended = await interrupted([url, "--report", option], after_s=1.5)
        assert ended == Ended(130, "", f"tracker-conformance: interrupted after 0 of {len(all_checks())} checks\n")
        assert all(path.exists() for path in paths.values())

    async def test_interrupted_midway(self, server: Running, tmp_path: Path) -> None:
        """What was judged before Ctrl-C is in the reports, and is not taken for the whole when it is judged again."""
        option, paths = files(tmp_path)
        ended = await interrupted([server.ws_url, "--report", option], after="basics.round-trip")
        assert ended.status == 130
        assert re.fullmatch(r"tracker-conformance: interrupted after \d+ of \d+ checks\n", ended.errors)
        found = saved.loads(paths["json"].read_text("utf-8"))
        assert 3 <= len(found.results) < len(all_checks())
        again = await judge("rejudge", str(paths["json"]))
        assert again.status == 1
        assert "interrupted after " in again.output
        assert again.output.endswith("Cannot be said to conform.\n")

    def test_bug(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        """An error in the suite ends with 4, says where it was, and the reports are written."""

        async def fail(*_arguments: object, **_options: object) -> None:
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(judging, "run_suite", fail)
        option, paths = files(tmp_path)
        assert cli.main([NOWHERE, "--report", option]) == 4
        told = capsys.readouterr()
        assert "ZeroDivisionError: a bug" in told.err
        assert told.err.splitlines()[-1].startswith("tracker-conformance: the suite failed: ")
        assert saved.loads(paths["json"].read_text("utf-8")).problem.startswith("the suite failed: ")

    async def test_closed_output(self, server: Running, tmp_path: Path) -> None:
        """When nobody reads what it prints, it goes on, writes the reports, and ends as it would."""
        option, paths = files(tmp_path)
        reader, writer = os.pipe()
        os.close(reader)
        with trio.fail_after(DEADLINE_S):
            process = await trio.run_process(
                [*MODULE, server.ws_url, "--select", FEW, "--report", option],
                stdout=writer,
                capture_stderr=True,
                check=False,
            )
        os.close(writer)
        assert (process.returncode, process.stderr) == (0, b"tracker-conformance: cannot print: Broken pipe\n")
        assert len(saved.loads(paths["json"].read_text("utf-8")).results) == 4

    async def test_full_disk(self, server: Running) -> None:
        """A report that cannot be written after all ends with 4, and is told of."""
        if not Path("/dev/full").exists():
            pytest.skip("needs /dev/full")
        judged = await judge(server.ws_url, "--select", FEW, "--report", "json=/dev/full")
        assert judged.status == 4
        assert judged.errors == "tracker-conformance: --report: /dev/full cannot be written: No space left on device\n"
        assert "What was tried conforms" in judged.output


async def interrupted(arguments: list[str], *, after: str = "", after_s: float = 0.0) -> Ended:
    """Run the command, and press Ctrl-C after a text, or a while."""
    with trio.fail_after(DEADLINE_S):
        process = await trio.lowlevel.open_process(
            [*MODULE, *arguments], stdout=PIPE, stderr=PIPE, env=environment(None) | {"PYTHONUNBUFFERED": "1"}
        )
        assert process.stdout is not None
        assert process.stderr is not None
        output = b""
        while after.encode() not in output:
            output += await process.stdout.receive_some()
        await trio.sleep(after_s)
        process.send_signal(signal.SIGINT)
        output += b"".join([chunk async for chunk in process.stdout])
        errors = b"".join([chunk async for chunk in process.stderr])
        return Ended(await process.wait(), output.decode(), errors.decode())


class TestRejudge:
    async def test_same(self, server: Running, tmp_path: Path) -> None:
        """A run that is judged again comes to the same, without its server."""
        option, paths = files(tmp_path)
        judged = await judge(server.ws_url, "--select", FEW, "--report", option)
        copy = tmp_path / "again.json"
        again = await judge("rejudge", str(paths["json"]), "--report", f"json={copy}")
        assert again.is_clean
        assert again.output.splitlines() == ["", *judged.output.splitlines()[-3:]]
        assert copy.read_text("utf-8") == paths["json"].read_text("utf-8")

    async def test_changed(self, server: Running, tmp_path: Path) -> None:
        """Where the verdict is another now, that is said."""
        file = tmp_path / "run.json"
        await judge(server.ws_url, "--select", "basics.connects", "--report", f"json={file}")
        file.write_text(file.read_text("utf-8").replace('"PASS"', '"FAIL"'), "utf-8")
        again = await judge("rejudge", str(file))
        assert again.is_clean
        assert again.output.startswith("basics.connects was FAIL, and is PASS now\n")

    def test_unknown_check(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A check of another release cannot be judged, which ends with 4."""
        file = tmp_path / "run.json"
        file.write_text(saved.dumps(a_run(a_result("frames.gone"))), "utf-8")
        again = main(["rejudge", str(file)], capsys)
        assert (again.status, again.errors) == (4, "")
        assert "there is no such check in this release" in again.output

    def test_damaged(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A file that is damaged, or of another format, ends with 2 and says so."""
        file = tmp_path / "run.json"
        whole = json.loads(saved.dumps(every_verdict()))
        for document, told in (
            (json.dumps(whole)[:-30], "is a saved run that is damaged; "),
            (json.dumps(whole | {"format": 7}), "is a saved run of format 7; this release reads format 1"),
            (json.dumps(whole | {"seconds": "1"}), "is a saved run that is damaged; seconds: expected a number"),
            ("\xff", "is no saved run: it is not text in UTF-8"),
        ):
            file.write_text(document, "latin-1")
            refused = main(["rejudge", str(file)], capsys)
            assert (refused.status, refused.output) == (2, "")
            assert refused.errors.startswith(f"tracker-conformance: FILE: {file} {told}")


class TestTerminal:
    @pytest.mark.parametrize("in_ci", [False, True])
    async def test_terminal(self, server: Running, in_ci: bool) -> None:
        """On a terminal there is a bar, and only what did not pass is a line; in CI there are lines all the same."""
        master, slave = os.openpty()
        received = bytearray()

        def read() -> None:
            try:
                while chunk := os.read(master, 65536):
                    received.extend(chunk)
            except OSError:
                pass  # the other end is closed

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, read)
            with trio.fail_after(DEADLINE_S):
                variables = environment({"TERM": "xterm-256color", "CI": "true" if in_ci else ""})
                arguments = [*MODULE, server.ws_url, *not_there(server), "--select", f"{FEW},http.takes-batches"]
                process = await trio.run_process(
                    arguments, stdout=slave, capture_stderr=True, check=False, env=variables
                )
            os.close(slave)
        os.close(master)
        told = received.decode()
        assert (process.returncode, process.stderr) == (1, b"")
        assert ("━" in told) is not in_ci
        assert ("\x1b[" in told) is not in_ci
        assert ("PASS" in told) is in_ci
        assert "http.takes-batches" in told
        assert "Does not conform to version 1.0 of the protocol." in told
