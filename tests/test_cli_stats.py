"""``wsproto-tracker stats``, run as users run it."""

import json
import re
import signal
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio

from tests.command import DEADLINE_S, run
from tests.reading_support import EMOJI, HOSTILE, Bare, ago, asked, at, begun, cells_of, on_terminal, save
from tests.support import Running
from wsproto_tracker.cli.bars import over_time
from wsproto_tracker.cli.stats import Stats
from wsproto_tracker.cli.tally import Tally

STYLES = re.compile(r"\x1b\[[0-9;]*m")
DAY = ("--since", "2026-11-23", "--until", "2026-11-23")


def some() -> list[dict[str, Any]]:
    """Events of a day: clicks by the hour, errors, two apps, three routes."""
    clicks = [at(3600 * hour, id=f"c{hour}", meta={"route": "/"}) for hour in (1, 1, 2, 5)]
    for number, click in enumerate(clicks):
        click["id"] += f"-{number}"
    broken = [
        at(n, type="error", level="error", appId="shop", payload={"message": message}, meta={"route": "/cart"})
        for n, message in enumerate(["it broke", HOSTILE, "it broke"])
    ]
    return [*clicks, *broken, at(7, type="custom", level="warn", payload={"name": "x"}, meta={})]


class TestFigures:
    @pytest.mark.parametrize("is_bare", [False, True])
    async def test_json(self, server: Running, is_bare: bool) -> None:
        """``--json`` has all counts, the most frequent first, and hours in order."""
        bare = Bare(*some())
        await save(server, *some())
        async with bare.served() as url:
            ended = await asked(url if is_bare else server.ws_url, "stats", *DAY, "--json", "--page-size", "3")
        assert ended.is_clean
        assert ended.output.count("\n") == 1
        assert json.loads(ended.output) == {
            "total": 8,
            "since": "2026-11-23T00:00:00.000Z",
            "until": "2026-11-23T23:59:59.999999Z",
            "first": "2026-11-23T00:00:00.000Z",
            "last": "2026-11-23T05:00:00.000Z",
            "types": {"click": 4, "error": 3, "custom": 1},
            "levels": {"info": 4, "error": 3, "warn": 1},
            "apps": {"demo": 5, "shop": 3},
            "hours": {
                "2026-11-23T00:00:00.000Z": 4,
                "2026-11-23T01:00:00.000Z": 2,
                "2026-11-23T02:00:00.000Z": 1,
                "2026-11-23T05:00:00.000Z": 1,
            },
            "routes": [{"route": "/", "count": 4}, {"route": "/cart", "count": 3}],
            "errors": [{"message": "it broke", "count": 2}, {"message": HOSTILE, "count": 1}],
            "exact": True,
        }

    async def test_filters(self, server: Running) -> None:
        """What does not match is not counted."""
        await save(server, *some())
        ended = await asked(server.ws_url, "stats", *DAY, "--json", "--app", "shop", "--search", "broke")
        assert json.loads(ended.output)["total"] == 2

    async def test_last_day(self, server: Running) -> None:
        """Without ``--since`` it is the last 24 hours."""
        await save(server, ago(23 * 3600), ago(25 * 3600))
        assert json.loads((await asked(server.ws_url, "stats", "--json")).output)["total"] == 1

    async def test_in_a_pipe(self, server: Running) -> None:
        """In a pipe it is plain text: numbers and names."""
        await save(server, *some())
        ended = await asked(server.ws_url, "stats", *DAY, FORCE_COLOR="1")
        assert ended.is_clean
        assert all(character.isprintable() or character == "\n" for character in ended.output)
        lines = ended.output.splitlines()
        assert lines[0] == "8 events, 2026-11-23 00:00:00 to 2026-11-23 05:00:00 UTC"
        assert [line for line in lines if line.startswith(("by", "top"))] == [
            *("by type", "by level", "by app", "by hour", "top routes", "top errors")
        ]
        assert re.search(r"^ +4  click\n +3  error\n +1  custom\n", ended.output, re.M)
        assert re.search(r"^ +1  2026-11-23 02:00\n +0  2026-11-23 03:00\n +0  2026-11-23 04:00\n", ended.output, re.M)

    @pytest.mark.parametrize("columns", [60, 200])
    async def test_on_a_terminal(self, server: Running, columns: int) -> None:
        """On a terminal there are bars, within its width."""
        await save(server, *some(), at(9, type="error", payload={"message": f"界{EMOJI}" * 99}))
        printed = await on_terminal(server.ws_url, "stats", *DAY, columns=columns)
        plain = STYLES.sub("", printed)
        assert "█" in plain
        assert all(character.isprintable() or character == "\n" for character in plain)
        assert max(map(cells_of, plain.splitlines())) <= columns
        assert len(plain.splitlines()) == 7 + 6 + 3 + 3 + 2 + 6 + 2 + 3  # each bar is one line

    async def test_nothing(self, server: Running) -> None:
        """Where nothing matches, that is said."""
        ended = await asked(server.ws_url, "stats")
        assert (ended.is_clean, ended.output) == (True, "no event matches\n")
        assert json.loads((await asked(server.ws_url, "stats", "--json")).output)["total"] == 0


class TestTrouble:
    async def test_wrong_options(self) -> None:
        """A time that is none is told: 2."""
        ended = await run("stats", "--since", "noon")
        assert (ended.status, ended.output) == (2, "")
        assert "--since: expected 30m, 1h" in ended.errors

    async def test_no_server(self) -> None:
        """Where nothing listens, that is said: 1."""
        ended = await asked("ws://127.0.0.1:1/", "stats")
        assert (ended.status, ended.output) == (1, "")
        assert "no connection" in ended.errors

    async def test_interrupted(self) -> None:
        """Ctrl-C in the middle ends it with 130, and nothing is printed."""
        bare = Bare()
        bare.is_away = True
        async with bare.served() as url, begun(url, "stats") as command:
            with trio.fail_after(DEADLINE_S):
                while not bare.queries:
                    await trio.sleep(0.01)
            command.signal(signal.SIGINT)
            ended = await command.end()
        assert (ended.status, ended.output, ended.errors) == (130, "", "wsproto-tracker: interrupted\n")

    async def test_help(self) -> None:
        """The help shows how it is used."""
        ended = await run("stats", "--help")
        assert ended.is_clean
        assert "  wsproto-tracker stats --since 7d --app shop\n" in ended.output


class TestBounds:
    def test_tally(self) -> None:
        """Of more different things than it holds, the frequent ones stay, and it says that it is not exact."""
        tally = Tally[int](capacity=10)
        for number in range(10_000):
            tally.add(number)
            tally.add(-1)
        assert tally.top(1) == [(-1, 10_000)]
        assert len(tally.top()) <= 20
        assert not tally.is_exact

    def test_exact(self) -> None:
        """What fits is exact; of equal counts the first comes first."""
        tally = Tally[str]()
        for thing in "abcb":
            tally.add(thing)
        assert tally.top() == [("b", 2), ("a", 1), ("c", 1)]
        assert tally.top(1) == [("b", 2)]
        assert tally.is_exact

    def test_long_texts(self) -> None:
        """Texts of strangers are counted by their beginning."""
        stats = Stats()
        stats.add(at(1, type="error", payload={"message": "x" * 10**6}, meta={"route": "/" * 10**6}))
        members = stats.members(None, None)
        assert len(members["errors"][0]["message"]) == len(members["routes"][0]["route"]) == 200

    def test_members_of_any_type(self) -> None:
        """An event of a server with other rules is counted all the same."""
        stats = Stats()
        stats.add({"id": "x", "timestamp": "2026-11-23T00:00:00Z", "type": ["t"], "meta": 5, "payload": None})
        assert stats.members(None, None)["types"] == {'["t"]': 1}

    @pytest.mark.parametrize(
        ("span", "step", "bars"),
        [
            (timedelta(0), "hour", 1),
            (timedelta(hours=47), "hour", 48),
            (timedelta(hours=48), "day", 3),
            (timedelta(days=47), "day", 48),
            (timedelta(days=48), "month", 2),
            (timedelta(days=366 * 3), "month", 2),
            (timedelta(days=366 * 10), "year", 2),
        ],
    )
    def test_steps_over_time(self, span: timedelta, step: str, bars: int) -> None:
        """There are no more bars than can be looked at: they are of hours, days, months or years."""
        start = datetime(2026, 1, 1, tzinfo=UTC)
        found, counts = over_time([(start + span, 2), (start, 1)] if span else [(start, 3)])
        assert (found, len(counts), sum(count for _, count in counts)) == (step, bars, 3)
        assert counts == sorted(counts)

    def test_thousands_of_years(self) -> None:
        """Of too many years, the last are drawn."""
        hours = [(datetime(year, 1, 1, tzinfo=UTC), 1) for year in range(1000, 3000)]
        step, counts = over_time(hours)
        assert (step, len(counts), counts[-1]) == ("year", 48, ("2999", 1))
