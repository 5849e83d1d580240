"""What a mutant is: the reference server with one requirement broken, and what the suite has to say of it."""

from collections.abc import Callable, Iterable

import attrs
import trio
from tracker_conformance import Check

from tests.conformance.reference import Reference

__all__ = ["KEY", "Mutant", "all_mutants", "later", "mutant"]

KEY = "open-sesame"
_MUTANTS: list["Mutant"] = []


@attrs.frozen
class Mutant:
    """One mutant.

    :ivar id: the requirement that it breaks.
    :ivar server: the broken server.
    :ivar base: the server that it is compared with.
    :ivar fails: names of the checks that have to fail; none for all that cite the requirement.
    :ivar also: names of further checks that cannot but fail with it.
    :ivar untestable: names of the checks that it keeps from seeing what they are about.
    :ivar skips: names of the checks that find something no longer offered.
    :ivar disturbs: whether it harms other connections, so that what else fails is a matter of chance.
    """

    id: str
    server: type[Reference]
    base: type[Reference]
    fails: frozenset[str]
    also: frozenset[str]
    untestable: frozenset[str]
    skips: frozenset[str]
    disturbs: bool

    @property
    def name(self) -> str:
        """The name of its class."""
        return self.server.__name__

    @property
    def title(self) -> str:
        """What it does wrong."""
        return (self.server.__doc__ or "").strip().splitlines()[0]

    def predicted(self, checks: Iterable[Check]) -> dict[str, Check]:
        """The checks that have to fail, by name."""
        names = self.fails | self.also
        return {
            check.name: check
            for check in checks
            if check.name in names or (not self.fails and check.ids and self.id in check.ids)
        }

    def key(self, checks: Iterable[Check]) -> str:
        """The key that it has to be run with, so that its checks can be tried; empty for none."""
        return "" if any("no_key" in check.uses for check in self.predicted(checks).values()) else KEY


def mutant(
    requirement: str,
    *,
    base: type[Reference] = Reference,
    fails: Iterable[str] = (),
    also: Iterable[str] = (),
    untestable: Iterable[str] = (),
    skips: Iterable[str] = (),
    disturbs: bool = False,
) -> Callable[[type[Reference]], type[Reference]]:
    """Make a mutant of a class; see ``Mutant``."""

    def register(server: type[Reference]) -> type[Reference]:
        _MUTANTS.append(
            Mutant(
                requirement,
                server,
                base,
                frozenset(fails),
                frozenset(also),
                frozenset(untestable),
                frozenset(skips),
                disturbs,
            )
        )
        return server

    return register


def all_mutants() -> list[Mutant]:
    """Every mutant, in the order in which they are defined."""
    import tests.conformance.mutants  # noqa: F401 - it registers them

    return list(_MUTANTS)


def later(seconds: float, act: Callable[[], object]) -> None:
    """Do something after a while, beside all else."""

    async def wait() -> None:
        await trio.sleep(seconds)
        act()

    trio.lowlevel.spawn_system_task(wait)
