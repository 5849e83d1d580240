"""Fuzzing, as far as it fits into every run: what is known is replayed, and Hypothesis makes more of it.

The longer run is ``python -m tests.fuzz``.
"""

import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.frames import Opcode

from tests.fuzz import __main__ as command
from tests.fuzz import targets
from tests.fuzz.mutation import mutated
from tests.fuzz.targets import FUZZ, TARGETS, Target
from wsproto_tracker.protocol.session import _TRANSITIONS, State, _Input

EXAMPLES = {"file": 80, "head": 300}
FILES = [
    pytest.param(target, path, id=f"{target.name}-{path.name}")
    for target in TARGETS.values()
    for path in target.files()
]


@st.composite
def inputs(draw: st.DrawFn, target: Target, seeds: list[bytes]) -> bytes:
    """Inputs of a target: known ones, changed some times, or any bytes."""
    data = draw(st.sampled_from(seeds) | st.binary(max_size=target.max_bytes))
    chance = draw(st.randoms(use_true_random=False))
    for _ in range(draw(st.integers(0, 4))):
        data = mutated(data, chance, target.words, seeds)
    return data[: target.max_bytes]


@pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))
def test_inputs(target: Target) -> None:
    """Whatever the bytes, no other errors escape than those that are documented, and the properties hold (CONN-7)."""

    @settings(max_examples=EXAMPLES.get(target.name, 600), suppress_health_check=[HealthCheck.too_slow])
    @given(inputs(target, target.seeds()))
    def try_it(data: bytes) -> None:
        target.run(data)

    try_it()


@pytest.mark.parametrize(("target", "path"), FILES)
def test_known_inputs(target: Target, path: Path) -> None:
    """Inputs to begin with, and those that a fault was found with, find none."""
    target.run(path.read_bytes())


@pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))
def test_examples(target: Target) -> None:
    """The specification's examples, and what the plugin was heard to send, find none."""
    for data in target.examples():
        target.run(data)


def test_folders() -> None:
    """Every target has inputs to begin with, none is longer than it may be, and no folder is left over."""
    assert all(target.corpus.is_dir() for target in TARGETS.values())
    assert all(len(path.read_bytes()) <= target.max_bytes for target in TARGETS.values() for path in target.files())
    assert {path.name for folder in ("corpus", "findings") for path in (FUZZ / folder).iterdir()} <= set(TARGETS)


def _break(*_: object) -> Any:
    raise KeyError("planted")


FAULTS = [
    ("session", "protocol.session._TRANSITIONS", _TRANSITIONS | {(State.LOCKED, _Input.NEEDS_KEY): State.LOCKED}),
    ("session", "protocol.ids._ANOTHER_EMPTY_ID", re.compile(b"(?!)")),
    ("session", "protocol.session.req_id_of", lambda _message: None),
    ("session", "protocol.decoding.json_text.loads", _break),
    ("body", "protocol.events.fill_id", lambda text, _event_id: text),
    ("body", "protocol.decoding._split_events", lambda *_: []),
    ("parameters", "protocol.query.parse_timestamp", lambda _text: 0),
    ("parameters", "protocol.decoding.faults", _break),
    ("timestamps", "protocol.timestamps._midnight", lambda _date: 0),
    ("json_text", "protocol.json_text._STRING", re.compile(r'"[^"]*"')),
    ("json_text", "protocol.json_text._SPACE", re.compile(r" *")),
    ("head", "server.http1._MAX_PARAMETERS", "many"),
    ("head", "server.front._handshake", lambda request: f"GET {request.path}?key=k HTTP/1.1\r\n\r\n".encode()),
    ("deflate", "server.deflate._DATA", (Opcode.TEXT, Opcode.BINARY)),
    ("block", "store.run.read_text", lambda seal, _data: b"x" * seal.text_bytes),
    ("block", "store.run._INDEX", msgspec.msgpack.Decoder()),
    ("file", "store.loading._MOST_LOST", 2**62),
    ("file", "store.loading.read_rows", _break),
]


@pytest.mark.parametrize(("name", "place", "fault"), FAULTS, ids=[f"{name}-{place}" for name, place, _ in FAULTS])
def test_planted_faults(monkeypatch: pytest.MonkeyPatch, name: str, place: str, fault: Any) -> None:
    """A target raises where the code is wrong."""
    monkeypatch.setattr(f"wsproto_tracker.{place}", fault)
    target = TARGETS[name]
    with pytest.raises(Exception):  # noqa: B017, PT011 - of whatever kind
        for data in target.seeds():
            target.run(data)


class TestCommand:
    def run(self, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["fuzz", *arguments])
        return command.main()

    def test_without_atheris(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        """It says what to install, and where that can be had."""
        monkeypatch.setitem(sys.modules, "atheris", None)
        assert self.run(monkeypatch) == 2
        assert "pip install -e '.[fuzz]'" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["sessions"], "sessions: no such target; there are session, "),
            (["--seconds", "0"], "--seconds: expected a whole number from 1"),
            (["--seed", "-1"], "--seed: expected a whole number from 1"),
        ],
    )
    def test_wrong_arguments(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        arguments: list[str],
        told: str,
    ) -> None:
        """What is wrong is told before anything runs."""
        with pytest.raises(SystemExit):
            self.run(monkeypatch, *arguments)
        assert told in capsys.readouterr().err

    @pytest.mark.skipif(find_spec("atheris") is None, reason="needs the extra fuzz")
    def test_runs(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        """A run counts inputs and branches, and ends with 0 where nothing was found."""
        assert self.run(monkeypatch, "timestamps", "--seconds", "1", "--seed", "1") == 0
        told = re.search(r"timestamps +([\d,]+) inputs, +(\d+) branches: nothing found", capsys.readouterr().out)
        assert told is not None
        assert int(told[1].replace(",", "")) > 100
        assert int(told[2]) > 10

    def test_finding(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        """The exception is told, and the input is kept; the exit status is 1."""

        def run(arguments: list[str], *, stdout: IO[bytes], **_: object) -> subprocess.CompletedProcess[bytes]:
            (prefix,) = (text.partition("=")[2] for text in arguments if text.startswith("-artifact_prefix="))
            Path(f"{prefix}crash-1").write_bytes(b"bad")
            stdout.write(
                b"#64\tpulse  cov: 429 ft: 600 corp: 4/200b exec/s: 21\n#119\tNEW    cov: 430 ft: 601 corp: 5/539b\n"
                b"\n === Uncaught Python exception: ===\nTypeError: no\nTraceback (most recent call last):\n  x\n\n"
                b"==2== ERROR: libFuzzer: fuzz target exited\nstat::number_of_executed_units: 121\n"
            )
            return subprocess.CompletedProcess(arguments, 77)

        assert self.stand_in(monkeypatch, tmp_path, run) == 1
        assert (tmp_path / "findings" / "timestamps" / "crash-1").read_bytes() == b"bad"
        told = capsys.readouterr().out
        assert re.search(r"121 inputs, +430 branches: FOUND\nTypeError: no\nTraceback", told)
        assert "findings/timestamps/crash-1" in told

    @pytest.mark.parametrize("ends", [True, False])
    def test_that_fails(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, ends: bool
    ) -> None:
        """A run that does not start, or does not end, is no success, though it has no input to show."""

        def run(arguments: list[str], *, stdout: IO[bytes], **_: object) -> subprocess.CompletedProcess[bytes]:
            if not ends:
                raise subprocess.TimeoutExpired("worker", 5)
            stdout.write(b"ImportError: no\n")
            return subprocess.CompletedProcess(arguments, 1)

        assert self.stand_in(monkeypatch, tmp_path, run) == 1
        assert ("ImportError: no" if ends else "timed out after 5 seconds") in capsys.readouterr().out

    def stand_in(self, monkeypatch: pytest.MonkeyPatch, folder: Path, run: Callable[..., Any]) -> int:
        """Run the command with something else in place of libFuzzer, and another folder for inputs."""
        monkeypatch.setattr(command, "find_spec", lambda _name: object())
        monkeypatch.setattr(subprocess, "run", run)
        monkeypatch.setattr(targets, "FUZZ", folder)
        return self.run(monkeypatch, "timestamps")
