"""Judges: pure functions that say something of any transcript, whatever a server answers."""

import ast
import json
import os
import random
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import pytest
import tracker_conformance
from tracker_conformance import Result, Run, Verdict, all_checks, run_suite
from tracker_conformance.model import Entry, Facts, FailedError, SkippedError, UntestableError
from tracker_conformance.transcript import Transcript

from tests.conformance.mutants import KEY as OTHER_KEY
from tests.conformance.reference import Reference
from tests.conformance.reference.frames import Peer
from tests.conformance.trial import tried as reference_tried
from tests.support import running
from tests.test_conformance_servers import KEY, target_of

SEED = int(os.environ.get("JUDGES_SEED", "1"))
PACKAGE = Path(tracker_conformance.__file__).parent
ODD: tuple[Any, ...] = (None, True, 0, -1, 1.5, "", "text", [], {}, [[]], [None], {"type": 7}, [{"meta": 7}])
JUDGES = {check.name: check for check in all_checks()}


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    """Whole runs against servers that conform: without and with a key, and with keys of every kind."""
    import trio

    async def run(**options: str) -> Run:
        async with running(**options) as server:
            return await run_suite(target_of(server), seed=SEED)

    of_reference = trio.run(reference_tried, Reference(OTHER_KEY), OTHER_KEY)
    return [trio.run(lambda: run()), trio.run(lambda: run(api_key=KEY)), of_reference]


def tried(runs: list[Run]) -> list[Result]:
    return [result for run in runs for result in run.results if result.entries and len(str(result.entries)) < 200_000]


def altered(chance: random.Random, entry: Entry) -> Entry:
    """What a server sent, with a part of it exchanged for something else."""
    if entry.kind == "close":
        return attrs.evolve(entry, data={"code": chance.choice((None, 1000, 1006, 1008)), "reason": "why"})
    if entry.kind == "response":
        headers = dict.fromkeys(chance.sample(sorted(entry.data["headers"]), k=min(2, len(entry.data["headers"]))), "x")
        data = entry.data | {"status": chance.choice((0, 200, 404, 500)), "headers": headers}
        return attrs.evolve(entry, data=data, text=chance.choice((entry.text, "", "[]", "7", "no JSON", "{}")))
    try:
        value = json.loads(entry.text)
    except ValueError:
        return attrs.evolve(entry, text=str(chance.choice(ODD)))
    return attrs.evolve(entry, text=json.dumps(exchanged(chance, value)))


def exchanged(chance: random.Random, value: Any) -> Any:
    """A JSON value with one of its parts, at any depth, left out or exchanged."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        name = chance.choice(sorted(value))
        if chance.random() < 0.2:
            return {key: inner for key, inner in value.items() if key != name}
        return value | {name: exchanged(chance, value[name])}
    if isinstance(value, list) and value and chance.random() < 0.8:
        place = chance.randrange(len(value))
        return [*value[:place], exchanged(chance, value[place]), *value[place + 1 :]]
    return chance.choice(ODD)


def finds(result: Result, entries: Sequence[Entry]) -> bool:
    """Whether a judge comes to a verdict of its own; it raises what is not meant as one."""
    with suppress(FailedError, SkippedError, UntestableError):
        JUDGES[result.check].judge(Transcript(entries, result.facts))
    return True


def test_any_answer_is_judged(runs: list[Run]) -> None:
    """Whatever a server answers, a judge finds a verdict: the suite never blames itself for it."""
    chance = random.Random(SEED)
    for result in tried(runs):
        places = [
            number
            for number, entry in enumerate(result.entries)
            if entry.kind in ("receive", "close", "response") and not entry.data.get("own")
        ]
        for _ in range(30):
            entries = list(result.entries)
            for place in chance.sample(places, k=min(chance.randint(1, 3), len(places))):
                entries[place] = altered(chance, entries[place])
            assert finds(result, entries), (SEED, result.check, entries)


def test_any_end_is_judged(runs: list[Run]) -> None:
    """A transcript that ends anywhere, for the server went away, is judged, and nothing fails for another reason."""
    for result in tried(runs):
        step = max(len(result.entries) // 12, 1)
        for stop in range(0, len(result.entries), step):
            assert finds(result, result.entries[:stop]), (result.check, stop)


def test_of_another_shape() -> None:
    """What no judge expects is the server's fault where it is a matter of shape, and the suite's where it is not."""

    def judged(error: Exception) -> Verdict:
        def judge(_transcript: Transcript) -> None:
            raise error

        transcript = Transcript((), Facts("", has_key=False))
        return attrs.evolve(JUDGES["basics.round-trip"], judge=judge).judged(transcript).verdict

    assert [judged(TypeError("x")), judged(KeyError("x"))] == [Verdict.FAIL] * 2
    assert judged(RuntimeError("x")) is Verdict.ERROR


def limited(**members: Any) -> Entry:
    frame = {"type": "error", "code": "rate_limited", "message": "too much"} | members
    return Entry(0.0, "receive", 1, json.dumps(frame))


def status_429(**headers: str) -> Entry:
    return Entry(0.0, "response", 0, "{}", {"status": 429, "headers": headers})


@pytest.mark.parametrize(
    "entry", [limited(retryAfterMs=1500), limited(retryAfterMs=0), status_429(**{"retry-after": "2"})]
)
def test_too_much_is_no_other_failure(entry: Entry) -> None:
    """What is too much for a server was not put to the test; it is no failure of what else was asked (LIMIT-6)."""
    judgement = JUDGES["basics.round-trip"].judged(Transcript((entry,), Facts("x-", has_key=False)))
    assert judgement.verdict is Verdict.UNTESTABLE
    assert "allow the suite more" in judgement.reason


@pytest.mark.parametrize(
    "entry",
    [
        *(limited(retryAfterMs=value) for value in (None, "5 s", -1, 1.5, True)),
        limited(),
        status_429(),
        *(status_429(**{"retry-after": value}) for value in ("soon", "-1", "1.5", "²")),
    ],
)
def test_too_much_in_another_form(entry: Entry) -> None:
    """Whatever check it comes in, ``rate_limited`` has to say when to come back (LIMIT-6)."""
    judgement = JUDGES["basics.round-trip"].judged(Transcript((entry,), Facts("x-", has_key=False)))
    assert judgement.verdict is Verdict.FAIL
    assert "LIMIT-6" in judgement.expected


class LetsInTheThird(Reference):
    """Finds the first batches too much."""

    refused = 0

    def is_too_much(self, peer: Peer) -> bool:
        del peer
        self.refused += 1
        return self.refused <= 2

    def on_too_much(self, peer: Peer, frame: dict[str, Any]) -> None:
        self.error(peer, frame, "rate_limited", "too much", retryAfterMs=1)


async def test_comes_back_when_it_is_too_much() -> None:
    """A check that is too much for a server is tried again, and that counts as no failure (LIMIT-6)."""
    run = await reference_tried(LetsInTheThird(), checks=[JUDGES["basics.round-trip"]])
    assert [(result.judgement.verdict, result.failures) for result in run.results] == [(Verdict.PASS, 0)]


def test_silence_passes_nothing(runs: list[Run]) -> None:
    """Where a server says nothing at all, no check passes."""
    for result in tried(runs):
        silent = [
            attrs.evolve(entry, text="", data={"status": 0, "headers": {}}) if entry.kind == "response" else entry
            for entry in result.entries
            if entry.kind not in ("receive", "open", "close") or entry.data.get("own")
        ]
        judgement = JUDGES[result.check].judged(Transcript(silent, result.facts))
        assert judgement.verdict is not Verdict.PASS, result.check


def test_same_verdict_twice(runs: list[Run]) -> None:
    """A judge changes nothing: it says the same of the same transcript."""
    for result in tried(runs):
        transcript = Transcript(result.entries, result.facts)
        first = JUDGES[result.check].judged(transcript)
        assert first == result.judgement == JUDGES[result.check].judged(transcript)


def test_shares_no_code_with_the_server() -> None:
    """The suite imports nothing of the server that it judges."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "wsproto_tracker" for name in names), path
