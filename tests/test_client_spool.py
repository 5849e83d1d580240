"""The spool: what is in it survives, one client has it at a time, and what is wrong with a file is said in words."""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from wsproto_tracker.client.outbox import Item
from wsproto_tracker.client.spool import Spool
from wsproto_tracker.errors import SpoolError


def item(seq: int, size: int = 1) -> Item:
    return Item(seq, b'{"id":"e%d","text":"%b"}' % (seq, b"x" * size))


@contextmanager
def spooling(path: Path, app_id: str = "shop") -> Iterator[Spool]:
    with closing(Spool(path, app_id)) as spool:
        yield spool


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


def seqs(spool: Spool) -> list[int]:
    return [found.seq for found in spool.load()]


def test_what_is_acked_goes_and_the_rest_stays_in_order(path: Path) -> None:
    """What was added and not removed is there at the next opening, in the same order and with the same text."""
    with spooling(path) as spool:
        for seq in range(5):
            spool.add(item(seq))
        spool.remove([item(1), item(3)])
    with spooling(path) as spool:
        assert spool.load() == [item(0), item(2), item(4)]


def test_only_its_owner_may_read_it(path: Path) -> None:
    """The file is for its owner alone: what is tracked is nobody else's."""
    with spooling(path):
        assert path.stat().st_mode & 0o077 == 0


def test_one_client_at_a_time(path: Path) -> None:
    """A spool that is open cannot be opened again, and can once it is closed."""
    with spooling(path) as spool:
        spool.add(item(0))
        with pytest.raises(SpoolError, match="in use"):
            Spool(path, "shop")
        spool.add(item(1))
    with spooling(path) as spool:
        assert seqs(spool) == [0, 1]


def test_it_survives_a_kill(path: Path) -> None:
    """What was added is there after ``kill -9`` of the process, and the file is free (no fsync is needed for that)."""
    code = f"""
import os, pathlib
from wsproto_tracker.client.outbox import Item
from wsproto_tracker.client.spool import Spool
spool = Spool(pathlib.Path({str(path)!r}), "shop")
for seq in range(1000):
    spool.add(Item(seq, b'{{"id":"e%d"}}' % seq))
os.kill(os.getpid(), {int(signal.SIGKILL)})
"""
    ended = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    with spooling(path) as spool:
        assert seqs(spool) == list(range(1000))


def test_a_spool_of_another_app(path: Path) -> None:
    """A spool is of one app, so that a program does not send what another has tracked."""
    with spooling(path):
        pass
    with pytest.raises(SpoolError, match="of another app; name a file for each app_id"):
        Spool(path, "blog")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"something else " * 100, "no spool of this client"),
        (b"SQLite format 3\x00" + b"\xff" * 5000, r"no spool of this client|damaged"),
    ],
)
def test_a_file_that_is_no_spool(path: Path, content: bytes, message: str) -> None:
    """A file of another kind is refused, and stays as it is."""
    path.write_bytes(content)
    with pytest.raises(SpoolError, match=message):
        Spool(path, "shop")
    assert path.read_bytes() == content


def test_a_database_of_another_program(path: Path) -> None:
    """A SQLite file of another program is refused, and stays as it is."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE events (id)")
    content = path.read_bytes()
    with pytest.raises(SpoolError, match="no spool of this client; name another file"):
        Spool(path, "shop")
    assert path.read_bytes() == content


def test_a_spool_of_another_release(path: Path) -> None:
    """A spool whose layout is not known is refused."""
    with spooling(path):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(SpoolError, match="of another release"):
        Spool(path, "shop")


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_a_damaged_spool(path: Path, place: float) -> None:
    """A damaged file is told, with what can be done; it never looks like an empty one."""
    with spooling(path) as spool:
        for seq in range(200):
            spool.add(item(seq, 500))
    content = bytearray(path.read_bytes())
    start = int(len(content) * place) // 4096 * 4096
    content[start : start + 4096] = b"\xa5" * 4096
    path.write_bytes(content)
    with pytest.raises(SpoolError, match="damaged; move it away"), spooling(path) as spool:
        spool.load()


@pytest.mark.parametrize("is_linked", [False, True], ids=["itself", "by a link"])
@pytest.mark.parametrize("is_missing", [False, True], ids=["empty", "missing"])
def test_a_file_that_lost_all_but_its_journal(path: Path, is_missing: bool, is_linked: bool) -> None:
    """An empty or missing file with events in its journal is damaged, not new: nothing is written over them."""
    journal = Path(f"{path}-wal")
    with spooling(path) as spool:
        spool.add(item(0))
        content = journal.read_bytes()
    assert content
    path.unlink()
    if not is_missing:
        path.touch()
    journal.write_bytes(content)
    link = path.with_name("link.db")
    link.symlink_to(path)
    with pytest.raises(SpoolError, match=r"damaged: it is empty or missing, and spool\.db-wal beside it is not"):
        Spool(link if is_linked else path, "shop")
    assert journal.read_bytes() == content
    assert path.exists() is not is_missing


def test_an_empty_file_is_a_new_spool(path: Path) -> None:
    """An empty file, with an empty journal or none, is a new spool: there was nothing in it."""
    path.touch()
    Path(f"{path}-wal").touch()
    with spooling(path) as spool:
        assert seqs(spool) == []


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"id":""}', b"\xff"])
def test_what_is_no_event_is_damage(path: Path, text: bytes) -> None:
    """A row that is no event is damage, and is not sent."""
    with spooling(path) as spool:
        spool.add(Item(0, text))
        with pytest.raises(SpoolError, match="damaged"):
            spool.load()


def test_places_where_there_can_be_none(tmp_path: Path) -> None:
    """A directory, a directory that is missing, and a file that may not be written are told from each other."""
    with pytest.raises(SpoolError, match="cannot be opened"):
        Spool(tmp_path, "shop")
    with pytest.raises(SpoolError, match="no such file or directory; name another file"):
        Spool(tmp_path / "none" / "spool.db", "shop")
    if os.geteuid() != 0:
        tmp_path.chmod(0o500)
        with pytest.raises(SpoolError, match="permission denied"):
            Spool(tmp_path / "spool.db", "shop")


def test_a_full_disk(path: Path) -> None:
    """On a full disk an event is refused, those before it are kept, and it goes on when there is room."""
    with spooling(path) as spool:
        spool.add(item(0))
        with full_disk(path):
            with pytest.raises(SpoolError, match="disk"):
                for seq in range(1, 100):
                    spool.add(item(seq, 20_000))
            with pytest.raises(SpoolError, match="disk"):
                spool.remove([item(0)])
        assert seqs(spool)[0] == 0
        spool.add(item(200))
        spool.remove([])
        assert seqs(spool)[-1] == 200
        assert 0 not in seqs(spool), "what could not be removed is removed later"


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Let this process write no file beyond the size that the journal has."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    size = Path(f"{path}-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
