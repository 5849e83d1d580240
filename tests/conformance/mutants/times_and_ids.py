"""Mutants of section 4: timestamps and ids."""

import itertools
import re
from typing import Any

from tests.conformance.mutants.registry import mutant
from tests.conformance.reference import Reference
from tests.conformance.reference.json_text import Raw, dump
from tests.conformance.reference.store import Stored

_MINUTE = 60_000_000


@mutant("TIME-1", fails=("timestamps.accepts-forms",))
class CapitalsOnly(Reference):
    """Rejects a timestamp with a small t or z."""

    def parse_timestamp(self, text: str) -> int | None:
        return super().parse_timestamp(text) if text == text.upper() else None


@mutant("TIME-1", fails=("timestamps.accepts-all-years",))
class NoYear1(Reference):
    """Rejects a timestamp of the year 1."""

    def parse_timestamp(self, text: str) -> int | None:
        return None if text.startswith("0001") else super().parse_timestamp(text)


@mutant("TIME-2")
class SpaceForT(Reference):
    """Accepts a timestamp with a space in place of the T."""

    def parse_timestamp(self, text: str) -> int | None:
        return super().parse_timestamp(f"{text[:10]}T{text[11:]}" if text[10:11] == " " else text)


@mutant("TIME-2")
class HoursAlone(Reference):
    """Accepts a timestamp without an offset, and takes it for UTC."""

    def parse_timestamp(self, text: str) -> int | None:
        found = super().parse_timestamp(text)
        return super().parse_timestamp(f"{text}Z") if found is None and "T" in text else found


@mutant("TIME-3")
class FractionsAsNumbers(Reference):
    """Takes ``.5`` for 5 milliseconds."""

    def parse_timestamp(self, text: str) -> int | None:
        return super().parse_timestamp(re.sub(r"\.(\d{1,2})(?!\d)", lambda found: f".{int(found[1]):03}", text))


@mutant("TIME-4")
class Milliseconds(Reference):
    """Compares to the millisecond."""

    def parse_timestamp(self, text: str) -> int | None:
        found = super().parse_timestamp(text)
        return None if found is None else found // 1000 * 1000


@mutant("TIME-5")
class NoLeapSeconds(Reference):
    """Rejects second 60."""

    def parse_timestamp(self, text: str) -> int | None:
        return None if text[16:19] == ":60" else super().parse_timestamp(text)


@mutant("ID-1", skips=("filters.page", "filters.page-past-the-end", "filters.unreadable-page"))
class KeepsEmptyIds(Reference):
    """Keeps an empty id."""

    def new_id(self, number: int) -> str:  # noqa: ARG002 - always the same
        return ""


@mutant("ID-1")
class CountsInFrames(Reference):
    """Gives ids that are unique in one frame only."""

    def ingest(self, text: str) -> tuple[dict[str, Any], list[Stored]]:
        self.in_frame = itertools.count()
        return super().ingest(text)

    def new_id(self, number: int) -> str:  # noqa: ARG002 - counted otherwise
        return f"event-{next(self.in_frame)}"


@mutant("ID-2")
class CutsIds(Reference):
    """Cuts an id after 255 characters."""

    def save(self, event: dict[str, Any], text: str) -> Stored:
        given = event.get("id") or ""
        if len(given) <= 255:
            return super().save(event, text)
        return super().save(event | {"id": given[:255]}, text.replace(dump(given), dump(given[:255])))


@mutant("ID-3", also=("filters.limit", "filters.page", "push.pushes-as-queries-answer"))
class NewIdsEachTime(Reference):
    """Makes up the ids when it answers."""

    answered = itertools.count()

    def shown(self, stored: Stored) -> Any:
        made_up = f"made-up-{next(self.answered)}"
        return Raw(stored.text.replace(f'"ref-{stored.number}"', f'"{made_up}"', 1))
