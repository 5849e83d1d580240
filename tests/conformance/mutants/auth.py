"""Mutants of section 3."""

from typing import Any

from tests.conformance.mutants.registry import later, mutant
from tests.conformance.reference import Reference
from tests.conformance.reference.frames import Goodbye, Peer


@mutant("AUTH-1")
class AnswersWithAck(Reference):
    """Answers a right key with an ``ack``."""

    def say(self, peer: Peer, frame: dict[str, Any]) -> None:
        super().say(peer, {"type": "ack"} if frame == {"type": "auth_ok"} else frame)


@mutant("AUTH-2", also=("auth.frames-that-do-not-wait",))
class KnowsNoAuth(Reference):
    """Takes ``auth`` for an unknown frame where no key is configured."""

    def on_auth(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        if self.key:
            super().on_auth(peer, frame, text)
        else:
            self.on_unknown(peer, frame, text)


class _RefusesOtherwise(Reference):
    def on_auth(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        key = frame.get("key", "")
        if peer.is_trusted or not isinstance(key, str) or self.grant(key) is not None:
            super().on_auth(peer, frame, text)
        else:
            self.refuse_otherwise(peer, frame)

    def refuse_otherwise(self, peer: Peer, frame: dict[str, Any]) -> None:
        """Refuse a first key."""


@mutant("AUTH-3")
class ClosesWith4001(_RefusesOtherwise):
    """Closes with 4001 after a wrong key."""

    def refuse_otherwise(self, peer: Peer, frame: dict[str, Any]) -> None:
        self.error(peer, frame, "unauthorized", "Unauthorized")
        self.end(peer, 4001, "Unauthorized")


@mutant("AUTH-3")
class SaysForbidden(_RefusesOtherwise):
    """Answers a wrong key with another message."""

    def refuse_otherwise(self, peer: Peer, frame: dict[str, Any]) -> None:
        self.error(peer, frame, "unauthorized", "Wrong key")
        self.end(peer, 1008, "Unauthorized")


@mutant("AUTH-3")
class ComparesTheBeginning(Reference):
    """Takes a key for right that only begins like it."""

    def on_auth(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        begins_like_it = str(frame.get("key")).startswith(self.key)
        super().on_auth(peer, frame | {"key": self.key} if begins_like_it else frame, text)


@mutant("AUTH-4")
class SlowAuth(Reference):
    """Looks the key up elsewhere, and handles what follows meanwhile as if none had come."""

    def on_auth(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        if not peer.is_trusted and self.grant(str(frame.get("key"))) is not None:
            done = super().on_auth
            later(0.02, lambda: done(peer, frame, text))
        else:
            super().on_auth(peer, frame, text)


@mutant("AUTH-5", fails=("auth.ingest-before-auth",))
class OpenIngest(Reference):
    """Takes events without a key."""

    def on_ingest(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        trusted = peer if peer.is_trusted else Peer(True, outbox=peer.outbox, news=peer.news)
        super().on_ingest(trusted, frame, text)


@mutant("AUTH-5", fails=("auth.query-before-auth",))
class OpenQueries(Reference):
    """Answers queries without a key."""

    def on_query(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        trusted = peer if peer.is_trusted else Peer(True, outbox=peer.outbox, news=peer.news)
        super().on_query(trusted, frame, text)


@mutant("AUTH-6", also=("basics.round-trip",))
class AlwaysWantsAuth(Reference):
    """Expects ``auth`` where no key is configured."""

    def opened(self, peer: Peer) -> None:
        peer.is_trusted = False


@mutant("AUTH-7")
class ReadsOn(Reference):
    """Goes on with what follows a wrong key, until the client closes as well."""

    def refuse(self, peer: Peer, frame: dict[str, Any]) -> None:
        self.error(peer, frame, "unauthorized", "Unauthorized")
        peer.put(Goodbye(1008, "Unauthorized"))


@mutant("AUTH-8")
class TrustsForEver(Reference):
    """Takes any key for right once one was."""

    def on_auth(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        if peer.is_trusted and self.grant(str(frame.get("key"))) is None:
            self.say(peer, {"type": "auth_ok"})
        else:
            super().on_auth(peer, frame, text)


@mutant("CLOSE-6", disturbs=True)
class LeavesTheSilentWith1001(Reference):
    """Closes with 1001 when no key is shown for a while."""

    def opened(self, peer: Peer) -> None:
        later(0.3, lambda: None if peer.is_trusted else self.end(peer, 1001, "too slow"))
