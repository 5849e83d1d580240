"""Mutants of section 9: batches over HTTP."""

import json
from functools import partial
from typing import Any

import attrs
import trio

from tests.conformance.mutants.registry import later, mutant
from tests.conformance.reference import Reference
from tests.conformance.reference.http import Answer, Request
from tests.conformance.reference.json_text import dump
from tests.conformance.reference.store import Stored

_LARGE = ("errors.http-of-4-mib", "errors.http-of-16-mib")  # they do not need a batch to be taken first


@mutant("HTTP-1", fails=("http.takes-batches-without-type", "http.takes-batches-of-any-type"))
class WantsType(Reference):
    """Refuses a batch without ``type``, or with another one."""

    def on_write(self, request: Request) -> Answer:
        return super().on_write(attrs.evolve(request, body=b"}" if _lacks_type(request.body) else request.body))


def _lacks_type(body: bytes) -> bool:
    return body.startswith(b'{"') and not body.startswith(b'{"type": "ingest"')


@mutant("HTTP-1", fails=("http.takes-batches",), also=_LARGE)
class WantsEventsAlone(Reference):
    """Refuses a batch with anything but ``events``."""

    def on_write(self, request: Request) -> Answer:
        if self.may_write(request) and b'"type"' in request.body.partition(b'"events"')[0]:
            return self.on_no_batch({})
        return super().on_write(request)


@mutant("HTTP-2")
class JsonOnly(Reference):
    """Reads a body only if its content type is ``application/json`` to the letter."""

    def is_content_type_read(self, content_type: str) -> bool:
        return content_type == "application/json"


@mutant("HTTP-2", fails=("http.takes-plain-text", "cors.takes-beacons"))
class NoPlainText(Reference):
    """Refuses a body that is plain text."""

    def is_content_type_read(self, content_type: str) -> bool:
        return not content_type.startswith("text/") and super().is_content_type_read(content_type)


@mutant("HTTP-3", fails=("http.shows-what-it-took", "http-read.shows-posted-events"))
class AnswersBeforeItSaves(Reference):
    """Answers 200 to a small batch a little before it saves it."""

    def on_write(self, request: Request) -> Answer:
        self.posted: list[Stored] = []
        answer = super().on_write(request)
        for stored in self.posted if len(self.posted) < 100 else []:
            self.kept.remove(stored)
            later(0.03, partial(self.keep, stored))
        return answer

    def push(self, saved: list[Stored]) -> None:
        self.posted = saved
        super().push(saved)


@mutant("HTTP-4", fails=("http.answers-rejected-batches",))
class RefusesRejected(Reference):
    """Answers 422 to a batch of which every event is rejected."""

    def acked(self, ack: dict[str, object]) -> Answer:
        return Answer(422, dump(ack)) if not ack["saved"] and "rejected" in ack else super().acked(ack)


@mutant("HTTP-4", fails=("http.answers-empty-batches",), untestable=("origins.refuses-batches-with-403",))
class RefusesEmpty(Reference):
    """Answers 400 to a batch without events."""

    def acked(self, ack: dict[str, object]) -> Answer:
        return super().acked(ack) if ack["saved"] or "rejected" in ack else self.on_no_batch({})


@mutant("HTTP-5", fails=("http-errors.refuses-what-is-no-json",))
class ReadsAsMuchAsItCanOverHttp(Reference):
    """Takes a body for JSON that begins like it."""

    def on_write(self, request: Request) -> Answer:
        text = request.body.decode()
        try:
            end = json.JSONDecoder().raw_decode(text)[1]
        except ValueError:
            end = len(text)
        return super().on_write(attrs.evolve(request, body=text[:end].encode()))


@mutant("HTTP-5", fails=("http-errors.refuses-what-is-no-object",))
class TakesArrays(Reference):
    """Takes an array for the events of a batch."""

    def on_write(self, request: Request) -> Answer:
        body = request.body
        return super().on_write(attrs.evolve(request, body=b'{"events":%s}' % body if body[:1] == b"[" else body))


@mutant("HTTP-5", fails=("http-errors.refuses-what-has-no-events",))
class MissingIsEmptyOverHttp(Reference):
    """Takes an object without an array ``events`` for an empty batch."""

    def on_no_batch(self, value: Any) -> Answer:
        return self.acked(self.ack(0, [], 0)) if isinstance(value, dict) else super().on_no_batch(value)


@mutant("HTTP-6")
class ComparesTheBeginningOverHttp(Reference):
    """Takes a key for right that only begins like it."""

    def is_allowed(self, request: Request) -> bool:
        return super().is_allowed(request) or self.key_of(request).startswith(self.key)


@mutant("HTTP-8", also=_LARGE)
class OtherHeader(Reference):
    """Wants the key in another header."""

    def key_of(self, request: Request) -> str:
        return request.headers.get("x-api-key", request.parameters.get("key", ""))


@mutant("HTTP-9")
class HeaderOnly(Reference):
    """Takes no key from the URL."""

    def key_of(self, request: Request) -> str:
        return request.headers.get("x-tracker-key", "")


@mutant("HTTP-12")
class SavesCutBodies(Reference):
    """Saves what came of a body that ends too early."""

    def on_cut_body(self, request: Request) -> Answer:
        return self.answer(request)


@mutant("HTTP-15")
class NeverContinues(Reference):
    """Waits for the body without asking for it."""

    async def go_on(self, stream: trio.abc.Stream) -> None:
        """Nothing is sent."""


@mutant("HTTP-16", skips=("http.counts-what-it-keeps",))
class AnswersOk(Reference):
    """Answers a batch with ``{"ok":true}``."""

    def acked(self, ack: dict[str, object]) -> Answer:
        return Answer(200, dump({"ok": bool(ack)}))


@mutant("INGEST-2", fails=("http.saves-valid-events",))
class AllOrNothing(Reference):
    """Saves nothing of a posted batch with an event that is rejected."""

    def on_write(self, request: Request) -> Answer:
        self.posted: list[Stored] = []
        answer = super().on_write(request)
        if self.posted and "rejected" in answer.body:
            for stored in self.posted:
                self.kept.remove(stored)
            return self.acked(self.ack(0, [], 0))
        return answer

    def push(self, saved: list[Stored]) -> None:
        self.posted = saved
        super().push(saved)


@mutant("INGEST-3", fails=("http.saves-no-invalid-event",), also=("http.counts-what-it-keeps",))
class KeepsLoudOnes(Reference):
    """Saves an event with another level, if it is posted."""

    def on_write(self, request: Request) -> Answer:
        self.levels = (*Reference.levels, "loud")
        answer = super().on_write(request)
        self.levels = Reference.levels
        return answer


@mutant("ACK-3", fails=("http.counts-what-it-keeps",))
class CountsAllOverHttp(Reference):
    """Counts in ``saved`` the events that it rejects, if they are posted."""

    def acked(self, ack: dict[str, object]) -> Answer:
        rejected = ack.get("rejected", [])
        assert isinstance(rejected, list)
        assert isinstance(ack["saved"], int)
        return super().acked(ack | {"saved": ack["saved"] + len(rejected)})
