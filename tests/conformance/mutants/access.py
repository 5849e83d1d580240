"""Mutants of sections 10 and 13: which pages are let in, and what keys are for."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tests.conformance.mutants.registry import mutant
from tests.conformance.reference import Reference
from tests.conformance.reference.access import Grant
from tests.conformance.reference.frames import Peer, array_of_events
from tests.conformance.reference.http import Answer, Request
from tests.conformance.reference.json_text import items, loads
from tests.conformance.reference.store import Stored

_FORBIDDEN_ELSEWHERE = ("scopes.keys-of-other-origins",)  # a page elsewhere is refused in the same ways


@mutant(
    "SEC-4",
    skips=(
        "origins.refuses-handshakes-with-403",
        "origins.refuses-batches-with-403",
        "origins.refuses-reads-with-403",
        "origins.refuses-pings-with-403",
    ),
)
class WelcomesStrangers(Reference):
    """Lets in the pages of every origin."""

    def takes_origin(self, origin: str | None) -> bool:  # noqa: ARG002 - always the same
        return True


@mutant("SEC-4")
class TrustsNull(Reference):
    """Lets in the pages that hide their origin."""

    def takes_origin(self, origin: str | None) -> bool:
        return origin == "null" or super().takes_origin(origin)


@mutant("SEC-4", fails=("origins.strangers-send-nothing",))
class RefusesTooLate(Reference):
    """Refuses the batch of a stranger when it is saved already."""

    def early_answer(self, request: Request) -> Answer | None:
        early = super().early_answer(request)
        return None if request.method == "POST" and early is not None and early.status == 403 else early

    def answer(self, request: Request) -> Answer:
        answer = super().answer(request)
        return answer if self.takes_origin(request.headers.get("origin")) else self.on_other_page()


@mutant("SEC-5")
class RefusesStrangersWith401(Reference):
    """Refuses the pages of other origins with 401."""

    def on_other_page(self) -> Answer:
        return self.failed(401, "not from there")


@mutant("SEC-5")
class RefusesAloud(Reference):
    """Refuses the pages of other origins in an answer that they can read."""

    def cors_headers(self, request: Request, answer: Answer) -> dict[str, str]:
        found, origin = super().cors_headers(request, answer), request.headers.get("origin")
        return found | ({"Access-Control-Allow-Origin": origin} if origin else {})


@mutant(
    "SEC-5",
    fails=(
        "origins.refuses-batches-with-403",
        "origins.refuses-reads-with-403",
        "origins.refuses-pings-with-403",
    ),
)
class LeavesItToBrowsers(Reference):
    """Answers the requests of other pages, only without the headers that let these read it."""

    def early_answer(self, request: Request) -> Answer | None:
        early = super().early_answer(request)
        return None if early is not None and early.status == 403 and request.path != self.ws_path else early


@mutant("HTTP-7")
class RefusesRightKeys(Reference):
    """Answers 401 where the key is right, but not for this."""

    def on_forbidden(self) -> Answer:
        return self.unauthorized()


@mutant(
    "X-SCOPE-1",
    also=("scopes.nothing-is-pushed-to-a-key-for-sending", "scopes.answers-403-to-reads", *_FORBIDDEN_ELSEWHERE),
)
class AnswersSenders(Reference):
    """Knows no key that is not for asking."""

    def may_ask(self, grant: Grant) -> bool:  # noqa: ARG002 - always the same
        return True


@mutant("X-SCOPE-1", fails=("scopes.queries-of-a-key-for-sending",), also=_FORBIDDEN_ELSEWHERE)
class TakesItForNoKey(Reference):
    """Closes at a query with a key that is not for asking, as if there was none."""

    def on_query(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        if peer.is_trusted and not self.may_ask(peer.grant):
            self.refuse(peer, frame)
        else:
            super().on_query(peer, frame, text)


@mutant("X-SCOPE-1", fails=("scopes.queries-of-a-key-for-sending",))
class ForbidsNothingByName(Reference):
    """Forbids without the ``reqId``."""

    def forbid(self, peer: Peer, frame: dict[str, Any]) -> None:
        super().forbid(peer, {"type": frame["type"]})


@mutant("X-SCOPE-1", fails=("scopes.subscriptions-of-a-key-for-sending",))
class SubscribesSenders(Reference):
    """Confirms a subscription with a key that is not for asking, of which nothing comes."""

    def on_subscribe(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        if peer.is_trusted and not self.may_ask(peer.grant):
            self.say(peer, {"type": "subscribed"})
        else:
            super().on_subscribe(peer, frame, text)


@mutant(
    "X-SCOPE-2",
    also=("scopes.answers-403-to-batches", *_FORBIDDEN_ELSEWHERE),
)
class TakesFromAskers(Reference):
    """Knows no key that is not for sending."""

    def may_send(self, grant: Grant) -> bool:  # noqa: ARG002 - always the same
        return True


@mutant("X-SCOPE-2", fails=("scopes.batches-of-a-key-for-asking",), also=_FORBIDDEN_ELSEWHERE)
class SavesAndForbids(Reference):
    """Answers with ``forbidden``, and saves all the same."""

    def on_ingest(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        if not self.may_send(peer.grant):
            self.ingest(array_of_events(text))
        super().on_ingest(peer, frame, text)


@mutant("X-SCOPE-2", fails=("scopes.batches-of-a-key-for-asking",), also=_FORBIDDEN_ELSEWHERE)
class AcksNothing(Reference):
    """Acks, with ``saved`` 0, what a key is not for."""

    def on_ingest(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        if peer.is_trusted and not self.may_send(peer.grant):
            self.say(peer, self.ack(0, [], 0))
        else:
            super().on_ingest(peer, frame, text)


@mutant("X-SCOPE-2", fails=("scopes.posted-batches-of-a-key-for-asking",), also=("scopes.answers-403-to-batches",))
class TakesPostsOfAskers(Reference):
    """Looks over HTTP only whether the key is right."""

    def grant_of(self, request: Request) -> Grant:
        found = super().grant_of(request)
        return Grant(apps=found.apps) if request.method == "POST" else found


@mutant("X-SCOPE-3")
class PushesToSenders(Reference):
    """Pushes to everybody who has shown a key that is not for asking."""

    def is_pushed_to(self, peer: Peer) -> bool:
        return super().is_pushed_to(peer) or (peer.is_trusted and not peer.grant.may_ask and not peer.is_leaving)


@mutant("X-SCOPE-3")
class PushesForEver(Reference):
    """Goes on pushing when the key is changed for one that is not for asking."""

    def is_pushed_to(self, peer: Peer) -> bool:
        return peer.is_subscribed and not peer.is_leaving


@mutant("X-SCOPE-4")
class SavesOfAllApps(Reference):
    """Saves events of any app, whatever the key is for."""

    def judge_app(self, event: dict[str, Any]) -> Iterator[str]:
        del event
        return iter(())


@mutant("X-SCOPE-4")
class RejectsTheBatch(Reference):
    """Rejects all events of a batch with one of another app."""

    def event_texts(self, text: str) -> Iterable[str]:
        texts = list(items(text))
        apps = {event.get("appId") for event in map(loads, texts) if isinstance(event, dict)} if self.apps else set()
        return ["null" for _ in texts] if self.apps and apps - self.apps else texts


@mutant("X-SCOPE-4")
class MiscountsApps(Reference):
    """Names the first event of the batch where it rejects one of another app."""

    def ack(self, saved: int, rejected: list[dict[str, Any]], duplicates: int) -> dict[str, Any]:
        named = [item | {"index": 0} if "the key's apps" in item["reason"] else item for item in rejected]
        return super().ack(saved, named, duplicates)


@mutant("X-SCOPE-5")
class ShowsAllApps(Reference):
    """Shows the events of all apps, whatever the key is for."""

    def is_of(self, stored: Stored, apps: frozenset[str] | None) -> bool:
        del stored, apps
        return True


class _LooksAtAll(Reference):
    def of_all_apps(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """What a key for all apps would be answered."""
        apps, self.apps = self.apps, None
        try:
            return super().response(query)
        finally:
            self.apps = apps


@mutant("X-SCOPE-5", fails=("scopes.answers-of-one-app", "scopes.reads-of-one-app"))
class CountsAllApps(_LooksAtAll):
    """Counts in ``total`` the events of all apps."""

    def response(self, query: Mapping[str, Any]) -> dict[str, Any]:
        return super().response(query) | {"total": self.of_all_apps(query)["total"]}


@mutant("X-SCOPE-5", fails=("scopes.answers-of-one-app", "scopes.reads-of-one-app"))
class CursorOfAllApps(_LooksAtAll):
    """Takes ``nextCursor`` from the events of all apps."""

    def response(self, query: Mapping[str, Any]) -> dict[str, Any]:
        found = self.of_all_apps(query)
        return super().response(query) | {name: found[name] for name in found if name == "nextCursor"}


@mutant("X-SCOPE-5", fails=("scopes.answers-of-one-app",))
class FilterBeforeKey(_LooksAtAll):
    """Shows the events of any app that a query names."""

    def response(self, query: Mapping[str, Any]) -> dict[str, Any]:
        return self.of_all_apps(query) if "appId" in query else super().response(query)


@mutant("X-SCOPE-5", fails=("scopes.pushes-of-one-app",))
class PushesOfAllApps(Reference):
    """Pushes the events of all apps."""

    def push(self, saved: list[Stored]) -> None:
        grants = {id(peer): peer.grant for peer in self.peers}
        for peer in self.peers:
            peer.grant = Grant(peer.grant.may_send, peer.grant.may_ask)
        super().push(saved)
        for peer in self.peers:
            peer.grant = grants[id(peer)]


@mutant("X-SCOPE-6")
class KnowsNoKeyElsewhere(Reference):
    """Takes a key for wrong where it is for pages of other origins."""

    def on_other_origin(self, peer: Peer, frame: dict[str, Any]) -> None:
        self.refuse(peer, frame)


@mutant("X-SCOPE-6")
class ForbidsAndCloses(Reference):
    """Closes after ``forbidden`` to a page of another origin."""

    def on_other_origin(self, peer: Peer, frame: dict[str, Any]) -> None:
        super().on_other_origin(peer, frame)
        self.end(peer, 1000, "")


@mutant("X-SCOPE-6")
class ForbidsAuthAlone(Reference):
    """Says ``forbidden`` to a page of another origin, and goes on as if it had said nothing."""

    def on_other_origin(self, peer: Peer, frame: dict[str, Any]) -> None:
        self.trust(peer, Grant())
        self.forbid(peer, frame)
