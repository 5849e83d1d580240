"""All targets, and where their inputs are."""

from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from tests.fuzz import protocol, server, store

__all__ = ["FUZZ", "TARGETS", "Target"]

FUZZ = Path(__file__).parent


@attrs.frozen
class Target:
    """What is fuzzed.

    :ivar run: takes any bytes; raises where they find a fault.
    :ivar words: what inputs are made of.
    :ivar examples: inputs besides those of the corpus.
    :ivar max_bytes: how long an input may be.
    """

    name: str
    run: Callable[[bytes], None] = attrs.field(repr=False)
    words: tuple[bytes, ...] = attrs.field(repr=False)
    examples: Callable[[], Sequence[bytes]] = attrs.field(default=list, repr=False)
    max_bytes: int = 4096

    @property
    def corpus(self) -> Path:
        """The folder of the inputs to begin with."""
        return FUZZ / "corpus" / self.name

    @property
    def findings(self) -> Path:
        """The folder of the inputs that the target once failed on."""
        return FUZZ / "findings" / self.name

    def files(self) -> list[Path]:
        """What is replayed in every test run."""
        return sorted([*self.corpus.glob("*"), *self.findings.glob("*")])

    def seeds(self) -> list[bytes]:
        """Every input to begin with."""
        found = [*(path.read_bytes() for path in self.files()), *self.examples()]
        return [data for data in found if len(data) <= self.max_bytes]


TARGETS = {
    target.name: target
    for target in (
        Target("session", protocol.session, protocol.JSON_WORDS, protocol.conversations),
        Target("body", protocol.body, protocol.JSON_WORDS, protocol.bodies),
        Target("parameters", protocol.parameters, protocol.PARAMETER_WORDS),
        Target("timestamps", protocol.timestamps, protocol.TIMESTAMP_WORDS, max_bytes=64),
        Target("json_text", protocol.json_document, protocol.JSON_WORDS, protocol.bodies),
        Target("head", server.head, server.HEAD_WORDS),
        Target("deflate", server.deflate, server.DEFLATE_WORDS, server.messages),
        Target("block", store.block, store.BLOCK_WORDS),
        Target("file", store.file, store.FILE_WORDS, max_bytes=512),
    )
}
