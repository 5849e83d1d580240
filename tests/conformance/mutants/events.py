"""Mutants of section 4, but for timestamps and ids."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from tests.conformance.mutants.registry import mutant
from tests.conformance.reference import Reference
from tests.conformance.reference.json_text import dump, items, loads, members


@mutant("EVENT-1")
class WantsSession(Reference):
    """Rejects an event with an empty ``sessionId``."""

    def judge_required(self, event: dict[str, Any]) -> Iterator[str]:
        yield from super().judge_required(event)
        if event.get("sessionId") == "":
            yield "sessionId: empty"


@mutant("EVENT-2", fails=("events.rejects-no-objects",))
class FlattensArrays(Reference):
    """Takes an array among the events for some more of them."""

    def event_texts(self, text: str) -> Iterable[str]:
        for item in items(text):
            yield from self.event_texts(item) if item.startswith("[") else [item]


@mutant("EVENT-2", fails=("events.rejects-without-members",))
class NeedsNoSession(Reference):
    """Keeps an event without ``sessionId``."""

    def judge_required(self, event: dict[str, Any]) -> Iterator[str]:
        return (fault for fault in super().judge_required(event) if fault != "sessionId: missing")


@mutant("EVENT-2", fails=("events.rejects-wrong-types",))
class KeepsNumbers(Reference):
    """Keeps an event whose ``sessionId`` is a number."""

    required: ClassVar = Reference.required | {"sessionId": (str, int)}


@mutant("EVENT-3")
class LevelsInAnyCase(Reference):
    """Keeps an event with a level in capital letters."""

    def judge_level(self, event: dict[str, Any]) -> Iterator[str]:
        level = event.get("level")
        return super().judge_level(event | {"level": level.lower()} if isinstance(level, str) else event)


@mutant("EVENT-4")
class TypesWithNewline(Reference):
    """Keeps an event whose type ends with a newline."""

    type_pattern = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,63}\n?")


@mutant("EVENT-4", also=("errors.tells-no-script",))
class TypesWithMarkup(Reference):
    """Keeps an event with a type that has markup in it."""

    type_pattern = re.compile(r"[A-Za-z<][A-Za-z0-9_.:<>()/-]{0,63}")


@mutant("EVENT-5", also=("filters.equality-of-type",))
class KnownTypesOnly(Reference):
    """Rejects an event of a type that is not known today."""

    type_pattern = re.compile("click|http|error|navigation|console|custom|session")


@mutant("EVENT-6")
class MessageOfAnyKind(Reference):
    """Keeps an ``error`` whose message is no string."""

    def judge_error_message(self, event: dict[str, Any]) -> Iterator[str]:
        payload = event.get("payload")
        if event.get("type") == "error" and isinstance(payload, dict) and "message" not in payload:
            yield "payload.message: missing"


@mutant("EVENT-7")
class OptionsMayBeNull(Reference):
    """Keeps an event whose optional members are null."""

    def judge_optional(self, event: dict[str, Any]) -> Iterator[str]:
        return super().judge_optional({name: value for name, value in event.items() if value is not None})


@mutant("EVENT-8")
class NormalizesTimestamps(Reference):
    """Gives timestamps back in UTC."""

    def text_of(self, event: dict[str, Any], text: str) -> str:
        return super().text_of(event, text.replace('+00:00"', 'Z"'))


@mutant("EVENT-8")
class DropsUnknownMembers(Reference):
    """Gives back only the members of ``meta`` that it knows."""

    def text_of(self, event: dict[str, Any], text: str) -> str:
        text = super().text_of(event, text)
        begin, end = next((begin, end) for name, begin, end in members(text) if name == "meta")
        meta = {name: value for name, value in loads(text[begin:end]).items() if not name.startswith("x")}
        return text[:begin] + dump(meta) + text[end:] if "xMeta" in text[begin:end] else text


@mutant("EVENT-9")
class JudgesPayloads(Reference):
    """Rejects a click whose coordinates are no object."""

    def judge_error_message(self, event: dict[str, Any]) -> Iterator[str]:
        yield from super().judge_error_message(event)
        payload = event.get("payload")
        coordinates = payload.get("coordinates", {}) if isinstance(payload, dict) else {}
        if event.get("type") == "click" and not isinstance(coordinates, dict):
            yield "payload.coordinates: no object"
