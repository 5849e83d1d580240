"""TLS: the certificate, which can be loaded again, and the connections that use it."""

import logging
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import trio
from trio.abc import HalfCloseableStream

from wsproto_tracker.errors import ServeError
from wsproto_tracker.settings import Settings

__all__ = ["TLS_HANDSHAKE", "Certificate", "TlsStream"]

TLS_HANDSHAKE = b"\x16"
"""The first byte of a client that speaks TLS."""

_PROTOCOLS = ["http/1.1"]
_RECEIVE_BYTES = 64 * 1024
_UNSENT_BYTES = 16 * 1024  # of what TLS says by itself; it goes with the next answer, but a peer can ask for more of it
_LAST_WORD_S = 1.0

_log = logging.getLogger("wsproto_tracker")


class Certificate:
    """A certificate with its key.

    :raises ServeError: if they cannot be loaded; it names the option and says what is wrong.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self.context = _load(certificate, key)
        """What new connections are to be encrypted by."""

    @classmethod
    def of(cls, settings: Settings) -> "Certificate | None":
        """The certificate that the settings name, if they do."""
        if settings.tls_cert is None or settings.tls_key is None:
            return None
        return cls(settings.tls_cert, settings.tls_key)

    def reload(self) -> None:
        """Load it again, for connections that are still to come.

        :raises ServeError: if it cannot be loaded; then it stays as it was.
        """
        self.context = _load(self._certificate, self._key)


def _load(certificate: Path, key: Path) -> ssl.SSLContext:
    """A context of its own each time, for one in which loading failed half-way is of no use."""
    _check("--tls-cert", certificate, "CERTIFICATE")
    _check("--tls-key", key, "PRIVATE KEY")

    def refuse() -> NoReturn:  # or OpenSSL would ask for the passphrase on the terminal
        raise ServeError(f"--tls-key: {key} is encrypted: expected a key without a passphrase")

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(_PROTOCOLS)
    try:
        context.load_cert_chain(certificate, key, password=refuse)
    except ssl.SSLError as error:
        raise ServeError(_what_is_wrong(context, certificate, key, error.reason)) from None
    except OSError as error:  # one of them has gone since it was looked at
        raise ServeError(f"--tls-cert, --tls-key: {certificate} or {key} cannot be read: {error.strerror}") from None
    return context


def _check(option: str, file: Path, label: str) -> None:
    """Look whether a file can be read and is of the right kind; OpenSSL does not tell which of the two is wrong."""
    try:
        text = file.read_bytes()
    except OSError as error:
        raise ServeError(f"{option}: {file} cannot be read: {error.strerror}") from None
    if f"{label}-----".encode() not in text:
        raise ServeError(f"{option}: {file} holds no {label.lower()} in PEM: expected -----BEGIN {label}-----")


def _what_is_wrong(context: ssl.SSLContext, certificate: Path, key: Path, reason: str | None) -> str:
    if reason == "KEY_VALUES_MISMATCH":
        return f"--tls-key: {key} is not the key of the certificate in {certificate}"
    try:
        context.load_verify_locations(certificate)
    except OSError:  # ssl.SSLError is one
        return f"--tls-cert: {certificate} is damaged"
    return f"--tls-key: {key} is damaged" if reason is None else f"--tls-cert: {certificate} cannot be used: {reason}"


class TlsStream(HalfCloseableStream):
    """A connection to a port that speaks TLS; the handshake comes with its first use.

    Other than ``trio.SSLStream`` it can be half-closed, which lets a peer that sends on take the last answer: after
    ``close_notify``, what still comes is dropped. And who is refused in the handshake gets the alert that says why.

    :param timeout_s: how long the handshake may take.
    """

    def __init__(self, stream: trio.SocketStream, context: ssl.SSLContext, timeout_s: float) -> None:
        self._socket = stream
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._timeout_s = timeout_s
        self._sending = trio.Lock()
        self._is_open = False
        self._has_ended = False
        self.is_plain = False
        """Whether the peer speaks no TLS; then nothing is encrypted, so that it can be told."""

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        await self._begin()
        if self.is_plain:
            return await self._socket.receive_some(max_bytes)
        while not self._has_ended:
            try:
                return self._ssl.read(max_bytes or _RECEIVE_BYTES)
            except ssl.SSLWantReadError:
                if self._outgoing.pending > _UNSENT_BYTES:
                    await self._flush()
                await self._fill()
            except ssl.SSLError as error:
                raise trio.BrokenResourceError("the peer has gone, or violates TLS") from error
        while await self._socket.receive_some(_RECEIVE_BYTES):
            pass
        return b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._begin()
        if self.is_plain:
            await self._socket.send_all(data)
            return
        if data:  # nothing, written, would end the connection
            try:
                self._ssl.write(data)
            except ssl.SSLError as error:
                raise trio.BrokenResourceError("the connection has ended") from error
        await self._flush()

    async def wait_send_all_might_not_block(self) -> None:
        async with self._sending:
            await self._socket.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        if self._is_open and not self._has_ended:
            self._has_ended = True
            with suppress(ssl.SSLError):  # it does not wait for the peer's
                self._ssl.unwrap()
            await self._flush()
        async with self._sending:
            await self._socket.send_eof()

    async def aclose(self) -> None:
        """Close it, after ``close_notify`` where the peer takes that at once."""
        try:
            if self._is_open and not self._has_ended:
                with trio.move_on_after(_LAST_WORD_S), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await self.send_eof()
        finally:
            await self._socket.aclose()

    async def _begin(self) -> None:
        """Have the handshake behind it."""
        await trio.lowlevel.checkpoint()
        if self._is_open or self.is_plain:
            return
        with trio.move_on_after(self._timeout_s):
            self.is_plain = await self._first_byte() != TLS_HANDSHAKE
            if not self.is_plain:
                await self._shake_hands()
                self._is_open = True
            return
        raise trio.BrokenResourceError("the TLS handshake takes too long")

    async def _first_byte(self) -> bytes:
        try:
            return await self._socket.socket.recv(1, socket.MSG_PEEK)
        except OSError as error:
            raise trio.BrokenResourceError("the peer has gone") from error

    async def _shake_hands(self) -> None:
        while True:
            try:
                self._ssl.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            except ssl.SSLError as error:
                if not isinstance(error, ssl.SSLEOFError | ssl.SSLSyscallError):
                    _log.warning("refused a TLS handshake: %s", error.reason)
                await self._flush()
                raise trio.BrokenResourceError("the TLS handshake failed") from error
            else:
                break
        if self._ssl.version() != "TLSv1.3":  # there what is left, tickets, goes with the first answer: a client that
            await self._flush()  # leaves before it would reset the connection over them, and lose what it had sent

    async def _fill(self) -> None:
        data = await self._socket.receive_some(_RECEIVE_BYTES)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _flush(self) -> None:
        """Send what is encrypted; the lock keeps it in order."""
        async with self._sending:
            if data := self._outgoing.read():
                await self._socket.send_all(data)
