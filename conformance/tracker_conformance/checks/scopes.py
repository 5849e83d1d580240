"""Section 13, keys with scopes: for sending, for asking, for one app, for pages of some origins."""

from typing import Any

from tracker_conformance.checks.http import batch, post, responded
from tracker_conformance.checks.http_read import answer, read
from tracker_conformance.checks.push import is_offered, pushed, subscribe
from tracker_conformance.model import SkippedError, UntestableError, demand
from tracker_conformance.probe import Probe
from tracker_conformance.registry import check
from tracker_conformance.transcript import Transcript
from tracker_conformance.websocket import WebSocket

_FORBIDDEN = "an error of code forbidden"
_ELSEWHERE = "https://evil.example"
_ANSWERS = ("auth_ok", "ack", "events:response", "error")
_TAKES = ("http.takes-batches",)
_READS = ("http-read.reads",)


def _is_known(t: Transcript, connection: int, option: str) -> None:
    """The key of a connection is a right one, or nothing can be said of what it is for."""
    if not t.of_type("auth_ok", connection):
        raise UntestableError(f"the key of {option} is not accepted: {t.told(connection)}")


def _codes(t: Transcript, connection: int) -> list[Any]:
    return [error.get("code") for error in t.of_type("error", connection)]


async def _answered(ws: WebSocket, count: int = 1) -> None:
    """Wait for answers of any kind to frames that may be refused."""
    await ws.until(
        lambda seen: sum(len(seen.of_type(name, ws.number)) for name in _ANSWERS) >= count, f"{count} answers"
    )


# a key for sending only


def _forbids_queries(t: Transcript) -> None:
    _is_known(t, 1, "--ingest-key-env")
    error = t.error("r") or {}
    demand(error.get("code") == "forbidden", f"{_FORBIDDEN} with the reqId of the query", t.told())
    demand(not t.of_type("events:response"), "no other answer to the query", t.told())
    demand(t.saved() == [1] and t.is_open(), "an ack on the same connection after it", t.told())
    demand(t.labels("all", 2) == ["sentinel"], "the event that was sent after it to be stored", t.told(2))


@check("X-SCOPE-1", judge=_forbids_queries, uses=("api_key", "ingest_key"))
async def queries_of_a_key_for_sending(p: Probe) -> None:
    """Answers a query with a key that is not for asking with ``forbidden``, and keeps the connection open."""
    async with p.connect(key=p.target.ingest_key) as ws, p.connect() as other:
        await ws.query("r", **p.window)
        await ws.ingest(p.event("sentinel"))
        await other.query("all", **p.window)


def _forbids_subscriptions(t: Transcript) -> None:
    is_offered(t, 2)
    _is_known(t, 1, "--ingest-key-env")
    demand(_codes(t, 1) == ["forbidden"] and not t.of_type("subscribed", 1), _FORBIDDEN, t.told())
    demand(t.saved() == [1] and t.is_open(), "an ack on the same connection after it", t.told())


@check("X-SCOPE-1", judge=_forbids_subscriptions, uses=("api_key", "ingest_key"))
async def subscriptions_of_a_key_for_sending(p: Probe) -> None:
    """Answers ``subscribe`` with a key that is not for asking with ``forbidden``, where it offers subscriptions."""
    async with p.connect(key=p.target.ingest_key) as ws, p.connect() as other:
        for each in (other, ws):
            await subscribe(each)
        await ws.ingest(p.event("a"))


def _pushes_not_to_senders(t: Transcript) -> None:
    _is_known(t, 1, "--ingest-key-env")
    demand(t.saved() == [1], "an ack of the event", t.told())
    if not pushed(t, 2):
        raise SkippedError("nothing was pushed")
    demand(not pushed(t, 1), "no push to a connection whose key is not for asking", t.told())
    has_changed = len(t.of_type("auth_ok", 3)) > 1
    demand(not has_changed or not pushed(t, 3), "no push after the key was changed for one that is not", t.told(3))


@check("X-SCOPE-3", judge=_pushes_not_to_senders, uses=("api_key", "ingest_key"))
async def nothing_is_pushed_to_a_key_for_sending(p: Probe) -> None:
    """Pushes nothing to a connection whose key is not for asking, though it was for asking when it subscribed."""
    async with p.connect(key=p.target.ingest_key) as ws, p.connect() as other, p.connect() as changed:
        for each in (other, changed, ws):
            await subscribe(each)
        await changed.send({"type": "auth", "key": p.target.ingest_key})
        await changed.until(
            lambda seen: len(seen.of_type("auth_ok", 3)) > 1 or bool(seen.of_type("error", 3)), "an answer"
        )
        await ws.ingest(p.event("a"))
        if other.has_received("subscribed"):
            await other.until(lambda seen: bool(pushed(Transcript(seen.entries, p.facts), 2)), "a push")
        await ws.quiet()


# a key for asking only


def _forbids_batches(t: Transcript) -> None:
    _is_known(t, 1, "--query-key-env")
    demand(_codes(t, 1) == ["forbidden"], _FORBIDDEN, t.told())
    demand(not t.of_type("ack"), "no ack", t.told())
    demand(t.labels("r") == ["sentinel"], "nothing of it to be stored, and an answer on the same connection", t.told())


@check("X-SCOPE-2", judge=_forbids_batches, uses=("api_key", "query_key"))
async def batches_of_a_key_for_asking(p: Probe) -> None:
    """Answers an ``ingest`` with a key that is not for sending with ``forbidden``, and saves nothing of it."""
    async with p.connect(key=p.target.query_key) as ws, p.connect() as other:
        await ws.send({"type": "ingest", "events": [p.event("refused")]})
        await _answered(ws)
        await other.ingest(p.event("sentinel"))
        await ws.query("r", **p.window)


def _saves_nothing_posted(t: Transcript) -> None:
    _is_known(t, 1, "--query-key-env")
    demand(not responded(t).is_success, "no 2xx", responded(t))
    found = t.labels(t.note("last look"), 2)
    demand(found == ["sentinel"], "nothing of it to be stored", found)


async def _post_with_a_key_for_asking(p: Probe) -> None:
    async with p.connect(key=p.target.query_key):
        await post(p, batch(p.event("refused"), type="ingest"), key=p.target.query_key)


@check("X-SCOPE-2", judge=_saves_nothing_posted, needs=_TAKES, uses=("api_key", "query_key", "write_url"))
async def posted_batches_of_a_key_for_asking(p: Probe) -> None:
    """Saves nothing of a batch that is posted with a key that is not for sending."""
    await _post_with_a_key_for_asking(p)
    async with p.connect() as other:
        await other.ingest(p.event("sentinel"))
        await other.query("look", **p.window)
        p.note("last look", "look")


def _answers_403(option: str) -> Any:
    def judge(t: Transcript) -> None:
        _is_known(t, 1, option)
        demand(responded(t).status == 403, "403, for the key is right", responded(t))

    return judge


@check("HTTP-7", judge=_answers_403("--query-key-env"), needs=_TAKES, uses=("api_key", "query_key", "write_url"))
async def answers_403_to_batches(p: Probe) -> None:
    """Answers 403, not 401, to a batch with a key that is not for sending."""
    await _post_with_a_key_for_asking(p)


@check(
    "HTTP-7",
    judge=_answers_403("--ingest-key-env"),
    needs=_READS,
    uses=("api_key", "ingest_key", "read_url"),
    writes=False,
)
async def answers_403_to_reads(p: Probe) -> None:
    """Answers 403, not 401, to a read with a key that is not for asking."""
    async with p.connect(key=p.target.ingest_key):
        await read(p, key=p.target.ingest_key)


# a key for one app


def _other_app(p: Probe) -> str:
    return f"{p.target.app_id}-other"


def _rejects_other_apps(t: Transcript) -> None:
    _is_known(t, 1, "--app-key-env")
    demand(t.saved() == [2], "an ack with saved 2, of the app's own events", t.told())
    demand(t.rejected() in ([], [1]), "in rejected the place of the other app's event, 1", t.told())
    demand(sorted(t.labels("r", 2)) == ["a", "c"], "only the app's own events to be stored", t.told(2))


@check("X-SCOPE-4", judge=_rejects_other_apps, uses=("api_key", "app_key"))
async def events_of_other_apps(p: Probe) -> None:
    """Rejects, of a key for one app, an event of another app by its index, and saves the others."""
    async with p.connect(key=p.target.app_key) as ws, p.connect() as other:
        await ws.ingest(p.event("a", 1), p.event("b", 2, appId=_other_app(p)), p.event("c", 3))
        await other.query("r", **p.window)


async def _save_of_two_apps(p: Probe, ws: WebSocket) -> None:
    """Save events of the app, and around and between them some of another."""
    p.note("app", p.target.app_id)
    p.note("newest", p.at(5))
    apps = (_other_app(p), p.target.app_id, _other_app(p), p.target.app_id, _other_app(p))
    await ws.ingest(*(p.event(f"e{number}", number, appId=app) for number, app in enumerate(apps, 1)))


def _has_other_apps(t: Transcript, connection: int) -> None:
    if t.saved(connection) == [2]:
        raise SkippedError("the key of --api-key-env is for one app itself, so that there are no others to see")
    demand(t.saved(connection) == [5], "an ack of the events of two apps", t.told(connection))


def _shows_one_app(t: Transcript, response: dict[str, Any]) -> None:
    events, total = response["events"], response.get("total")
    found = sorted(t.labels_of(events))
    demand(found == ["e2", "e4"], "the app's events only, e2 and e4", found)
    apps = {str(event.get("appId")) for event in events}
    demand(apps == {t.note("app")}, "no event of another app, whoever sent it", sorted(apps))
    demand(total == len(events), f"total {len(events)}, as if there were no others", total)
    demand(response.get("nextCursor") != t.note("newest"), "no nextCursor of an event of another app", response)


def _answers_of_one_app(t: Transcript) -> None:
    _is_known(t, 1, "--app-key-env")
    _has_other_apps(t, 2)
    demand("e5" in t.labels("all", 2), "all events for a key that is for all apps", t.told(2))
    _shows_one_app(t, t.answer("r"))
    others = t.labels("other")
    demand(set(others) <= {"e2", "e4"}, "no event of another app, though it is asked for by appId", others)


@check("X-SCOPE-5", judge=_answers_of_one_app, uses=("api_key", "app_key"))
async def answers_of_one_app(p: Probe) -> None:
    """Answers, to a key for one app, as if there were no events of others, ``total`` and ``nextCursor`` included."""
    async with p.connect(key=p.target.app_key) as ws, p.connect() as other:
        await _save_of_two_apps(p, other)
        await other.query("all", **p.window)
        await ws.query("r", **p.window)
        await ws.query("other", **p.window, appId=_other_app(p))


def _reads_of_one_app(t: Transcript) -> None:
    _has_other_apps(t, 1)
    _shows_one_app(t, answer(t))


@check("X-SCOPE-5", judge=_reads_of_one_app, needs=_READS, uses=("api_key", "app_key", "read_url"))
async def reads_of_one_app(p: Probe) -> None:
    """Answers reads with a key for one app likewise."""
    async with p.connect() as other:
        await _save_of_two_apps(p, other)
        await read(p, key=p.target.app_key)


def _pushes_of_one_app(t: Transcript) -> None:
    _is_known(t, 1, "--app-key-env")
    _has_other_apps(t, 2)
    if not pushed(t, 2):
        raise SkippedError("nothing was pushed")
    found = sorted(t.labels_of(pushed(t, 1)))
    demand(found == ["e2", "e4"], "the app's events only, e2 and e4", found)


@check("X-SCOPE-5", judge=_pushes_of_one_app, uses=("api_key", "app_key"))
async def pushes_of_one_app(p: Probe) -> None:
    """Pushes, to a key for one app, its events only."""
    async with p.connect(key=p.target.app_key) as ws, p.connect() as other:
        for each in (other, ws):
            await subscribe(each)
        await _save_of_two_apps(p, other)
        if other.has_received("subscribed"):
            await ws.until(lambda seen: len(pushed(Transcript(seen.entries, p.facts))) > 1, "two pushed events")
        await ws.quiet()


# a key for pages of some origins


def _forbids_other_origins(t: Transcript) -> None:
    tried = t.note("keys")
    unanswered = [entry for entry in t.entries if entry.kind == "refused" and entry.data.get("status") is None]
    demand(not unanswered, "an answer to each handshake", f"{len(unanswered)} without one")
    restricted = [number for number in tried if t.is_open(number) and not t.of_type("auth_ok", number)]
    restricted += [number for number in tried if t.closed(number) is not None]
    if not restricted:
        raise SkippedError(f"every key is for pages of {_ELSEWHERE} too, or these are not let in at all")
    for number in restricted:
        told = "forbidden in place of auth_ok, and to the ingest and the query after it"
        demand(_codes(t, number) == ["forbidden"] * 3 and t.is_open(number), told, t.told(number))
        answers = [frame for frame in t.frames(number) if frame.get("type") != "error"]
        demand(not answers, "no other answer", t.told(number))
    last = t.note("last")
    demand(t.labels("r", last) == ["sentinel"], "nothing of it to be stored", t.told(last))


@check("X-SCOPE-6", judge=_forbids_other_origins, uses=("api_key",))
async def keys_of_other_origins(p: Probe) -> None:
    """Answers an ``auth`` from a page that the key is not for with ``forbidden``, likewise what follows, and stays."""
    tried = []
    for key in p.target.keys:
        async with p.connect(auth=False, headers={"Origin": _ELSEWHERE}) as ws:
            tried.append(ws.number)
            await ws.send({"type": "auth", "key": key})
            await _answered(ws)
            if not ws.has_received("auth_ok"):
                await ws.send({"type": "ingest", "events": [p.event("refused")]})
                await ws.query(f"q{ws.number}", **p.window)
                await _answered(ws, 3)
    p.note("keys", tried)
    async with p.connect() as other:
        p.note("last", other.number)
        await other.ingest(p.event("sentinel"))
        await other.query("r", **p.window)
