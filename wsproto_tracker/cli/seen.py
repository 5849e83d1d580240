"""What ``tail`` has shown, so that after a gap it can ask for what is new without showing anything twice. No I/O.

The ids of a stretch of time are remembered: those of all events that are not older than ``since``, which is what to ask
for after a gap.
"""

__all__ = ["LATE_US", "Seen"]

LATE_US = 300_000_000
"""How much older than the newest an event may be, when it arrives in a gap, to be found: five minutes."""


class Seen:
    """The ids of what was shown lately; at first nothing is there, and so everything is known.

    :param capacity: ids that are remembered; up to twice as many for a while.
    """

    def __init__(self, capacity: int = 50_000) -> None:
        self._capacity = capacity
        self._instants: dict[str, int] = {}  # in the order of coming
        self._known_since: int | None = None
        self._newest: int | None = None

    def __len__(self) -> int:
        return len(self._instants)

    def __contains__(self, event_id: object) -> bool:
        return event_id in self._instants

    @property
    def is_full(self) -> bool:
        """Whether as many are remembered as should be."""
        return len(self._instants) >= self._capacity

    @property
    def since(self) -> int | None:
        """The instant since which all ids are known, a whole millisecond: a server may not tell finer ones (TIME-3).

        ``None`` where all are known that there are.
        """
        if self._known_since is None or self._newest is None:
            return None
        since = max(self._known_since, self._newest - LATE_US)
        return -(-since // 1000) * 1000

    def reaches(self, instant: int) -> bool:
        """Whether an event of that instant is older than what has to be remembered."""
        return self._newest is not None and instant < self._newest - LATE_US

    def add(self, event_id: str, instant: int, now: int) -> bool:
        """Remember an event; returns whether it is new.

        :param instant: of its timestamp.
        :param now: the present: an event that is dated in the future counts as one of now.
        """
        if event_id in self._instants:
            return False
        self._instants[event_id] = instant
        newest = min(instant, now)
        self._newest = newest if self._newest is None else max(self._newest, newest)
        if len(self._instants) > 2 * self._capacity:
            self._forget()
        return True

    def ends_at(self, instant: int) -> None:
        """Take it that what is not newer than this is not known: nobody has looked at it, or it is forgotten."""
        self._known_since = instant + 1 if self._known_since is None else max(self._known_since, instant + 1)

    def _forget(self) -> None:
        newest = self._newest or 0
        self.ends_at(newest - LATE_US - 1)
        self._keep()
        if len(self._instants) > self._capacity:
            newest_first = sorted((min(instant, newest) for instant in self._instants.values()), reverse=True)
            self.ends_at(newest_first[self._capacity])
            self._keep()
        while len(self._instants) > self._capacity:  # very many are dated in the future
            del self._instants[next(iter(self._instants))]

    def _keep(self) -> None:
        since = self.since or 0
        self._instants = {event_id: instant for event_id, instant in self._instants.items() if instant >= since}
