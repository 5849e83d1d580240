"""What the server listens on: addresses and ports, or a unix socket."""

import errno
import socket
import stat
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv6Address, ip_address
from pathlib import Path

import attrs
import trio

from wsproto_tracker.errors import ServeError

__all__ = ["Address", "addresses_of", "listening"]

_BACKLOG = 1024
_ANYBODY = 0o666  # a proxy runs as another user


@attrs.frozen
class Address:
    """A host and a port that the server listens on."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@asynccontextmanager
async def listening(
    host: str, port: int, unix: Path | None = None, *, option: str = ""
) -> AsyncGenerator[list[trio.SocketListener], None]:
    """Listen on every address of a host, or on a unix socket; at the end all is closed and the socket removed.

    :param option: what a problem is told of, in place of ``--host`` and ``--port``.
    :raises ServeError: if that is not possible.
    """
    listeners = await _tcp_listeners(host, port, option) if unix is None else [_unix_listener(unix)]
    identity = None if unix is None else _identity(unix)
    try:
        yield listeners
    finally:
        for listener in listeners:
            with trio.CancelScope(shield=True):
                await listener.aclose()
        if unix is not None and _identity(unix) == identity:  # and not that of a server which was started since
            unix.unlink()  # noqa: ASYNC240 - it takes no time


async def _tcp_listeners(host: str, port: int, option: str) -> list[trio.SocketListener]:
    where = f"{host} port {port}"
    of_host, of_port = option or "--host", option or "--port"
    try:
        return list(await trio.open_tcp_listeners(port, host=host, backlog=_BACKLOG))
    except (socket.gaierror, UnicodeError):
        raise ServeError(f"{of_host}: {host} is no address, and no name that can be found") from None
    except OSError as error:
        cause = error if error.errno else error.__cause__
        number = getattr(cause, "errno", None)
        if number == errno.EADDRINUSE:
            raise ServeError(f"{of_port}: {where} is in use; stop what listens there, or take another port") from None
        if number == errno.EADDRNOTAVAIL:
            raise ServeError(f"{of_host}: {host} is no address of this machine") from None
        if number == errno.EACCES:
            raise ServeError(f"{of_port}: {where} is not allowed to this user; take a port from 1024") from None
        raise ServeError(f"cannot listen on {where}: {error}") from None


def _unix_listener(path: Path) -> trio.SocketListener:
    try:
        _remove_stale(path)
        unix = socket.socket(socket.AF_UNIX)
        try:
            unix.bind(str(path))
            path.chmod(_ANYBODY)
            unix.listen(_BACKLOG)
        except OSError:
            unix.close()
            raise
    except OSError as error:
        raise ServeError(f"--unix: cannot listen on {path}: {error.strerror or error}") from None
    return trio.SocketListener(trio.socket.from_stdlib_socket(unix))


def _remove_stale(path: Path) -> None:
    """Remove the socket of a server that was killed, and nothing else.

    :raises ServeError: if something else is there.
    """
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise ServeError(f"--unix: {path} is there and is no socket; expected a path where there is nothing")
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass  # more wait there than are let in
    raise ServeError(f"--unix: {path} is in use; stop what listens there, or take another path")


def _identity(path: Path) -> tuple[int, int, int] | None:
    """What tells a file from another one at the same path; ``None`` where there is none."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


def addresses_of(listeners: Sequence[trio.SocketListener]) -> tuple[Address, ...]:
    """What listeners on ports really listen on; none for a unix socket."""
    return tuple(_address(listener) for listener in listeners if listener.socket.family != trio.socket.AF_UNIX)


def _address(listener: trio.SocketListener) -> Address:
    host, port = listener.socket.getsockname()[:2]
    address = ip_address(host.partition("%")[0])
    return Address(str(address) if isinstance(address, IPv6Address) else host, port)
