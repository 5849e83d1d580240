"""Mutants of section 6: filters and pages."""

from typing import Any

from tests.conformance.mutants.registry import mutant
from tests.conformance.reference import Reference
from tests.conformance.reference.json_text import stringified
from tests.conformance.reference.store import Stored

_TEXTS = ("type", "userId", "sessionId", "groupId", "appId")


@mutant("FILTER-2")
class AfterInclusive(Reference):
    """Returns the events at ``after``."""

    def is_after(self, stored: Stored, after: int) -> bool:
        return stored.instant >= after


@mutant("FILTER-3", fails=(f"filters.equality-of-{name}" for name in _TEXTS))
class AnyCase(Reference):
    """Compares filters without regard to case."""

    def is_equal(self, value: Any, wanted: str) -> bool:
        return isinstance(value, str) and value.lower() == wanted.lower()


@mutant("FILTER-3", fails=(f"filters.equality-of-{name}" for name in _TEXTS))
class Beginnings(Reference):
    """Returns events whose member begins with what a filter wants."""

    def is_equal(self, value: Any, wanted: str) -> bool:
        return isinstance(value, str) and value.startswith(wanted)


@mutant("FILTER-3", fails=("filters.equality-of-level",))
class LevelOrWorse(Reference):
    """Returns events of a level and of those above it."""

    def matches(self, stored: Stored, asked: dict[str, Any]) -> bool:
        if "level" in asked:
            wanted = self.levels.index(asked["level"])
            if self.levels.index(stored.event["level"]) > wanted:
                asked = asked | {"level": stored.event["level"]}
        return super().matches(stored, asked)


@mutant("FILTER-3", fails=("filters.combined",))
class TypeOrLevel(Reference):
    """Returns events that match one of two filters."""

    def matches(self, stored: Stored, asked: dict[str, Any]) -> bool:
        if {"type", "level"} <= set(asked):
            apart = ({key: value for key, value in asked.items() if key != name} for name in ("type", "level"))
            return any(super(TypeOrLevel, self).matches(stored, one) for one in apart)
        return super().matches(stored, asked)


@mutant("FILTER-4")
class SearchesCase(Reference):
    """Searches with regard to case."""

    def is_found(self, stored: Stored, search: str) -> bool:
        return search in stringified(stored.event["payload"])


@mutant("FILTER-4")
class SearchesAll(Reference):
    """Searches the whole event."""

    def is_found(self, stored: Stored, search: str) -> bool:
        return search.lower() in stringified(stored.event).lower()


@mutant("FILTER-5")
class NoLimitAtZero(Reference):
    """Takes a ``limit`` of 0 for none."""

    def page(self, found: list[Stored], limit: int | None, page: int) -> list[Stored]:
        return super().page(found, limit or None, page)


@mutant("FILTER-6")
class SkipsOneMore(Reference):
    """Begins each page but the first one event too late."""

    def page(self, found: list[Stored], limit: int | None, page: int) -> list[Stored]:
        return super().page(found[1:] if page > 1 else found, limit, page)


@mutant("FILTER-7")
class LastPageForEver(Reference):
    """Answers a page past the end with the last one."""

    def page(self, found: list[Stored], limit: int | None, page: int) -> list[Stored]:
        last = -(-len(found) // limit) if limit else 1
        return super().page(found, limit, min(page, last))


@mutant("FILTER-8", fails=("filters.unreadable-limit", "filters.unreadable-page"))
class RepairsNumbers(Reference):
    """Takes the least for a ``limit`` or a ``page`` that cannot be."""

    def read_number(self, value: Any, least: int) -> int | None:
        found = super().read_number(value, least)
        return least if found is None else found


@mutant("FILTER-8", fails=("filters.unreadable-level",))
class FindsNothingLoud(Reference):
    """Finds nothing for a ``level`` that cannot be."""

    def read_member(self, name: str, value: Any) -> Any:
        return value if name == "level" and isinstance(value, str) else super().read_member(name, value)
