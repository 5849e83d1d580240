"""Which events are valid (section 4 of the specification)."""

import re
from collections.abc import Iterator
from typing import Any, ClassVar

from tests.conformance.reference import timestamps

__all__ = ["EventRules"]


class EventRules:
    """The rules; each is a method that tells of faults, as ``member: what is wrong``.

    :ivar apps: those of the key of whoever is served now; ``None`` for all.
    """

    apps: frozenset[str] | None = None

    levels: tuple[str, ...] = ("debug", "info", "warn", "error")
    required: ClassVar[dict[str, Any]] = {
        "timestamp": str,
        "level": str,
        "type": str,
        "appId": str,
        "sessionId": str,
        "userId": str,
        "payload": dict,
        "meta": dict,
    }
    optional: ClassVar[dict[str, Any]] = {"id": str, "groupId": str, "context": dict}
    type_pattern = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,63}")

    def judge_event(self, event: Any) -> list[str]:
        """Every fault of an event; none where it is valid."""
        if not isinstance(event, dict):
            return ["no object"]
        rules = (
            self.judge_required,
            self.judge_optional,
            self.judge_timestamp,
            self.judge_level,
            self.judge_type,
            self.judge_error_message,
            self.judge_app,
        )
        return [fault for rule in rules for fault in rule(event)]

    def judge_required(self, event: dict[str, Any]) -> Iterator[str]:
        """EVENT-2."""
        for name, kind in self.required.items():
            if name not in event:
                yield f"{name}: missing"
            elif not isinstance(event[name], kind):
                yield f"{name}: of a wrong JSON type"

    def judge_optional(self, event: dict[str, Any]) -> Iterator[str]:
        """EVENT-7."""
        for name, kind in self.optional.items():
            if name in event and not isinstance(event[name], kind):
                yield f"{name}: of a wrong JSON type"

    def judge_timestamp(self, event: dict[str, Any]) -> Iterator[str]:
        """TIME-2."""
        if isinstance(event.get("timestamp"), str) and self.parse_timestamp(event["timestamp"]) is None:
            yield "timestamp: no RFC 3339 timestamp"

    def judge_level(self, event: dict[str, Any]) -> Iterator[str]:
        """EVENT-3."""
        if isinstance(event.get("level"), str) and event["level"] not in self.levels:
            yield "level: not one of the four"

    def judge_type(self, event: dict[str, Any]) -> Iterator[str]:
        """EVENT-4."""
        if isinstance(event.get("type"), str) and not self.type_pattern.fullmatch(event["type"]):
            yield "type: does not match"

    def judge_error_message(self, event: dict[str, Any]) -> Iterator[str]:
        """EVENT-6."""
        payload = event.get("payload")
        if event.get("type") == "error" and isinstance(payload, dict) and not isinstance(payload.get("message"), str):
            yield "payload.message: no string"

    def judge_app(self, event: dict[str, Any]) -> Iterator[str]:
        """X-SCOPE-4."""
        if self.apps is not None and isinstance(event.get("appId"), str) and event["appId"] not in self.apps:
            yield "appId: none of the key's apps"

    def parse_timestamp(self, text: str) -> int | None:
        """An instant in microseconds; ``None`` for what is no timestamp."""
        return timestamps.instant(text)
