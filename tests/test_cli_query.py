"""``wsproto-tracker query``, run as users run it."""

import csv
import io
import json
import os
import re
import signal
import sys

import pytest

from tests.client_support import Peer, answering, scripted
from tests.command import run
from tests.reading_support import EMOJI, HOSTILE, Bare, ago, asked, at, begun, cells_of, ids, on_terminal, save
from tests.support import Running, event, running
from wsproto_tracker.access import Key, Scope
from wsproto_tracker.cli.output import json_line
from wsproto_tracker.cli.rows import summary

COLUMNS = ["id", "timestamp", "level", "type", "appId", "sessionId", "userId", "groupId", "route", "payload"]
STYLES = re.compile(r"\x1b\[[0-9;]*m")


class TestWhichEvents:
    async def test_all_newest_first(self, server: Running) -> None:
        """Everything comes, as it was saved, newest first, one event a line, however many pages it takes."""
        events = [at(second) for second in range(25)]
        await save(server, *events)
        ended = await asked(server.ws_url, "query", "--page-size", "4")
        assert ended.is_clean
        assert [json.loads(line) for line in ended.output.splitlines()] == events[::-1]

    async def test_limit(self, server: Running) -> None:
        """``--limit`` stops after so many."""
        await save(server, *(at(second) for second in range(25)))
        ended = await asked(server.ws_url, "query", "--limit", "3")
        assert ended.is_clean
        assert ids(ended.output) == ["e24", "e23", "e22"]

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("--type", "http"),
            ("--level", "error"),
            ("--user", "ann"),
            ("--session", "s2"),
            ("--group", "g"),
            ("--app", "blog"),
            ("--search", "tHiNg"),
        ],
    )
    @pytest.mark.parametrize("is_bare", [False, True])
    async def test_filters(self, server: Running, option: str, value: str, is_bare: bool) -> None:
        """Each filter leaves what matches, whether the server offers it or not."""
        other = {"type": "http", "level": "error", "userId": "ann", "sessionId": "s2", "groupId": "g", "appId": "blog"}
        name = {"user": "userId", "session": "sessionId", "group": "groupId", "app": "appId"}.get(
            option[2:], option[2:]
        )
        members = {name: other[name]} if name in other else {"payload": {"name": "some Thing"}}
        bare = Bare(at(1), at(2, **members), at(3))
        await save(server, *bare.events)
        async with bare.served() as url:
            ended = await asked(url if is_bare else server.ws_url, "query", option, value)
        assert ended.is_clean
        assert ids(ended.output) == ["e2"]

    async def test_filters_combine(self, server: Running) -> None:
        """All filters have to match."""
        await save(server, at(1, level="warn"), at(2, level="warn", appId="blog"), at(3, appId="blog"))
        ended = await asked(server.ws_url, "query", "--level", "warn", "--app", "blog")
        assert ids(ended.output) == ["e2"]

    async def test_window(self, server: Running) -> None:
        """``--since`` and ``--until`` are inclusive; a day is meant with all of it, in the zone of this machine."""
        await save(server, *(at(second) for second in (0, 1, 2, 3, 86_399, 86_400)))
        times = ("--since", "2026-11-23T00:00:01Z", "--until", "2026-11-23T00:00:02Z")
        assert ids((await asked(server.ws_url, "query", *times)).output) == ["e2", "e1"]
        day = ("--since", "2026-11-23", "--until", "2026-11-23")
        assert ids((await asked(server.ws_url, "query", *day)).output) == ["e86399", "e3", "e2", "e1", "e0"]
        assert ids((await asked(server.ws_url, "query", *day, TZ="UTC-1")).output) == ["e3", "e2", "e1", "e0"]

    async def test_since_a_while_ago(self, server: Running) -> None:
        """``--since 1h`` is an hour ago."""
        await save(server, ago(7200, id="old"), ago(1800, id="new"))
        assert ids((await asked(server.ws_url, "query", "--since", "1h")).output) == ["new"]
        assert ids((await asked(server.ws_url, "query", "--until", "1h")).output) == ["old"]

    async def test_key(self) -> None:
        """The key comes from the environment, or from the option; one for queries will do."""
        key = Key(key="k3y", name="reader", scopes=frozenset([Scope.QUERY]))
        async with running(keys=(key,)) as server:
            for arguments, variables in (((), {"TRACKER_API_KEY": "k3y"}), (("--api-key", "k3y"), {})):
                assert (await asked(server.ws_url, "query", *arguments, **variables)).is_clean


class TestFormats:
    async def test_csv(self, server: Running) -> None:
        """CSV has the same columns for every event, one line each; a spreadsheet takes no cell as a formula."""
        await save(
            server,
            at(1, userId="=HYPERLINK(1)", appId="-1", sessionId="a,b", groupId='"', meta={"route": HOSTILE}),
            at(2, type="custom", payload={"name": HOSTILE}),
        )
        ended = await asked(server.ws_url, "query", "--format", "csv")
        assert ended.is_clean
        assert all(character.isprintable() or character == "\n" for character in ended.output)
        header, second, first = csv.reader(io.StringIO(ended.output))
        assert header == COLUMNS
        assert first[:8] == ["e1", at(1)["timestamp"], "info", "click", "'-1", "a,b", "'=HYPERLINK(1)", '"']
        assert first[8].startswith(r"\x1b[2J\x1b]0;owned\x07\r\n\x9b31m[bold red]markup[/] \u202egnal")
        assert json.loads(second[9]) == {"name": HOSTILE}

    async def test_json_lines_are_harmless(self, server: Running) -> None:
        """What strangers wrote comes back equal from JSON, and on one line without anything that a terminal obeys."""
        hostile = event(id="x", payload={"name": HOSTILE, HOSTILE: [1e300, "\ud83d"]}, userId=HOSTILE, type="custom")
        await save(server, hostile)
        ended = await asked(server.ws_url, "query", "--format", "jsonl")
        assert all(character.isprintable() or character == "\n" for character in ended.output)
        (line,) = ended.output.splitlines()
        assert json.loads(line) == hostile

    async def test_table_in_a_pipe(self, server: Running) -> None:
        """A table that is piped is plain, harmless, and not cropped."""
        await save(server, at(1, type="error", level="error", payload={"message": f"{HOSTILE} {'long ' * 100}end"}))
        ended = await asked(server.ws_url, "query", "--format", "table", FORCE_COLOR="1")
        assert ended.is_clean
        title, row = ended.output.splitlines()
        assert title.split() == ["TIME", "(UTC)", "LEVEL", "TYPE", "APP", "USER", "ROUTE", "EVENT"]
        assert row.startswith("2026-11-23 00:00:01.000 error error      demo ")
        assert row.endswith(" long end")
        assert row.isprintable()
        assert "[bold red]markup[/]" in row

    @pytest.mark.parametrize("columns", [60, 100, 200])
    async def test_table_on_a_terminal(self, server: Running, columns: int) -> None:
        """On a terminal it is a table in colour whose rows end at the edge, whatever strangers wrote."""
        members = {"userId": EMOJI * 9, "appId": "e\u0301" * 300, "meta": {"route": f"{HOSTILE}界" * 99}}
        told = [("error", HOSTILE), ("console", "界"), ("later", "[/]"), ("emoji", EMOJI)]
        for second, (kind, text) in enumerate(told):
            await save(server, at(second, type=kind, payload={"message": text * 50}, level="error", **members))
        printed = await on_terminal(server.ws_url, "query", columns=columns)
        plain = STYLES.sub("", printed)
        assert "\x1b[" in printed
        assert all(character.isprintable() or character == "\n" for character in plain)
        assert len([line for line in plain.splitlines() if "error" in line]) == 4
        assert max(map(cells_of, plain.splitlines())) <= columns

    async def test_no_color(self, server: Running) -> None:
        """With NO_COLOR there is no colour."""
        await save(server, at(1, level="error"))
        printed = await on_terminal(server.ws_url, "query", columns=100, NO_COLOR="1")
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]", printed)
        assert 'button "Buy"' in printed

    async def test_nothing(self, server: Running) -> None:
        """Where nothing matches, nothing is printed; a CSV has its columns."""
        for format_, output in (("jsonl", ""), ("table", ""), ("csv", ",".join(COLUMNS) + "\n")):
            ended = await asked(server.ws_url, "query", "--format", format_)
            assert (ended.is_clean, ended.output) == (True, output)

    @pytest.mark.parametrize(
        ("type_", "payload", "line"),
        [
            ("click", {"tag": "button", "text": "Buy", "id": "b"}, 'button "Buy"'),
            ("click", {"tag": "div", "id": "b"}, "div #b"),
            ("http", {"method": "GET", "url": "/x", "status": 200, "duration": 5.5}, "GET /x 200 5.5 ms"),
            ("http", {"method": "GET", "url": "/x", "error": "Failed to fetch"}, "GET /x Failed to fetch"),
            ("error", {"message": "it\nbroke", "stack": "…"}, "it broke"),
            ("navigation", {"from": "/", "to": "/x", "trigger": "load"}, "/ → /x"),
            ("console", {"method": "warn", "message": "careful"}, "careful"),
            ("custom", {"name": "job", "data": {"ok": True}, "duration": 21}, 'job {"ok":true} 21 ms'),
            ("custom", {"name": "job", "data": {}}, "job"),
            ("session", {"action": "start", "trigger": "init"}, "start init"),
            ("later", {"a": [1]}, '{"a":[1]}'),
            ("click", {}, "{}"),
            ("http", {"method": ["x"], "url": None, "status": {"a": 1}}, '["x"] {"a":1}'),
        ],
    )
    def test_summaries(self, type_: str, payload: object, line: str) -> None:
        """A row says what happened, by type; what is of no known form is shown as JSON."""
        assert summary(event(type=type_, payload=payload)) == line

    @pytest.mark.parametrize("number", [float("inf"), -float("inf"), 10**5000], ids=["1e400", "-1e400", "digits"])
    def test_numbers_beyond_doubles(self, number: float) -> None:
        """A number that no double holds, such as 1e400, stays one."""
        assert float(json.loads(json_line([number]), parse_int=float)[0]) == float("-inf" if number < 0 else "inf")


class TestTrouble:
    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (("--since", "noon"), "--since: expected 30m, 1h, 2d, today, yesterday, a day such as 2026-11-23"),
            (("--until", "2026-02-30"), "--until: expected"),
            (("--since", "1h", "--until", "2h"), "--since: expected a time before that of --until"),
            (("--level", "fatal"), "--level: expected debug, info, warn or error"),
            (("--limit", "0"), "--limit: expected a whole number from 1"),
            (("--limit", "x"), "--limit: expected a whole number from 1"),
            (("--page-size", "0"), "--page-size: expected a whole number from 1"),
            (("--format", "xml"), "--format: expected table, jsonl or csv"),
            (("--levle", "error"), "--levle: no such option; did you mean --level?"),
            (("--url", "http://x/"), "--url: expected a WebSocket URL such as ws://"),
            (("--ca", "/nowhere"), "--ca: /nowhere: No such file or directory"),
            (("--user", os.fsdecode(b"\xff")), "--user: expected text in UTF-8"),
        ],
    )
    async def test_wrong_options(self, arguments: tuple[str, ...], told: str) -> None:
        """A wrong option is told by its name, with what would be right, before anything is asked: 2."""
        ended = await run("query", *arguments)
        assert (ended.status, ended.output) == (2, "")
        assert told in ended.errors

    async def test_no_server(self) -> None:
        """Where nothing listens, that is said in one line: 1."""
        ended = await asked("ws://127.0.0.1:1/", "query")
        assert (ended.status, ended.output) == (1, "")
        assert re.fullmatch(r"wsproto-tracker: ws://127.0.0.1:1/: no connection .*refused.*\n", ended.errors)

    async def test_no_tracker(self) -> None:
        """Where something else answers, that is said."""
        async with answering(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n") as url:
            ended = await asked(url, "query")
        assert (ended.status, ended.output) == (1, "")
        assert re.fullmatch(
            r"wsproto-tracker: ws://.*: it answered HTTP 404; .* the endpoint ends in /ws.*\n", ended.errors
        )

    async def test_hostile_server(self) -> None:
        """What a server says of its errors harms no terminal either."""

        async def converse(peer: Peer) -> None:
            while True:
                frame = await peer.receive()
                if "reqId" in frame:
                    error = {"type": "error", "code": "internal", "message": HOSTILE}
                    await peer.send(error | {"reqId": frame["reqId"]})
                else:
                    await peer.ack(frame)

        async with scripted(converse) as url:
            ended = await asked(url, "query")
        assert (ended.status, ended.output) == (1, "")
        assert "[bold red]markup[/] \\u202egnal" in ended.errors
        assert all(character.isprintable() or character == "\n" for character in ended.errors)

    @pytest.mark.parametrize(("key", "told"), [(None, "it needs a key"), ("wr0ng", "it does not know this key")])
    async def test_wrong_key(self, key: str | None, told: str) -> None:
        """A wrong key is told, with the option for the right one; and not repeated."""
        async with running(api_key="k3y") as server:
            ended = await asked(server.ws_url, "query", *(("--api-key", key) if key else ()))
        assert (ended.status, ended.output) == (1, "")
        assert told in ended.errors
        assert "set TRACKER_API_KEY, or --api-key" in ended.errors or "set the right one" in ended.errors
        assert "wr0ng" not in ended.errors

    async def test_key_for_sending_only(self) -> None:
        """A key that is not for asking is told."""
        key = Key(key="k3y", name="page", scopes=frozenset([Scope.INGEST]))
        async with running(keys=(key,)) as server:
            ended = await asked(server.ws_url, "query", TRACKER_API_KEY="k3y")
        assert (ended.status, ended.output) == (1, "")
        assert re.match(r"wsproto-tracker: forbidden: ", ended.errors)

    async def test_reader_that_goes(self, server: Running) -> None:
        """``| head`` is quiet: the reader has what it wanted."""
        await save(server, *(at(second, payload={"text": "x" * 500}) for second in range(2000)))
        shell = f"{sys.executable} -m wsproto_tracker query --url {server.ws_url} | head -n 1; echo ${{PIPESTATUS[0]}}"
        ended = await run("-c", shell, command=("bash",))
        line, status = ended.output.splitlines()
        assert (ids(line), status, ended.errors) == (["e1999"], "0", "")

    async def test_full_disk(self, server: Running) -> None:
        """Output that cannot be written is told in one line."""
        await save(server, at(1))
        shell = f"{sys.executable} -m wsproto_tracker query --url {server.ws_url} >/dev/full"
        ended = await run("-c", shell, command=("bash",))
        assert (ended.status, ended.errors) == (1, "wsproto-tracker: cannot print: No space left on device\n")

    @pytest.mark.parametrize(
        ("options", "status", "told"),
        [(">&-", 1, "wsproto-tracker: cannot print: Bad file descriptor\n"), ("--since x 2>&-", 2, "")],
    )
    async def test_closed_output(self, server: Running, options: str, status: int, told: str) -> None:
        """Where stdout is closed, that is told; where stderr is, nothing is, and nothing comes to stdout instead."""
        await save(server, at(1))
        shell = f"{sys.executable} -m wsproto_tracker query --url {server.ws_url} {options}"
        ended = await run("-c", shell, command=("bash",))
        assert (ended.status, ended.output, ended.errors) == (status, "", told)

    async def test_interrupted(self, server: Running) -> None:
        """Ctrl-C in the middle ends it at once with 130, even where nobody takes what it prints."""
        await save(server, *(at(second, payload={"text": "x" * 500}) for second in range(2000)))
        async with begun(server.ws_url, "query", "--page-size", "10") as command:
            await command.until("e1999")
            command.signal(signal.SIGINT)
            ended = await command.process.wait()
            assert (ended, command.errors()) == (130, "wsproto-tracker: interrupted\n")

    async def test_help(self) -> None:
        """The help shows how it is used."""
        ended = await run("query", "--help")
        assert ended.is_clean
        assert "  wsproto-tracker query --since 1h --level error\n" in ended.output
