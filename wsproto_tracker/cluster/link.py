"""The link to the stream, by the NATS client. All of it runs in the bridge's asyncio loop.

A link has one connection at a time. When anything is wrong with it, whoever uses it is told by ``LostError``, and the
next ``open`` makes a new one, to any of the servers. So there is one way to recover, whatever has failed.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import attrs
import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError

from wsproto_tracker.cluster.checks import LEAST_REPLICAS, ask_monitor, stream_problems, sync_problems
from wsproto_tracker.cluster.errors import LostError, UnfitError
from wsproto_tracker.cluster.pulling import REQUEST_S, Pulling, Received, Room, ask
from wsproto_tracker.cluster.url import ClusterUrl
from wsproto_tracker.protocol.ids import new_id

__all__ = ["Link", "Opened"]

_CONNECT_S = 5.0
_ONE_SERVER_S = 2  # of it, so that one that hangs does not take it all
_ROUND_S = 0.1
_PING_S = 2
_IDENTITY = "wsproto-tracker"  # in the metadata, which a backup keeps; when it was made differs from server to server
_MADE_ALREADY = 10058  # by another node, at the same moment
_NO_REPLICAS = (10005, 10074)  # there are not so many servers
_NANOSECONDS = 1_000_000_000

T = TypeVar("T")

# the client's protocol returns a value that asyncio complains of at the end of each TLS connection
logging.getLogger("asyncio").addFilter(lambda record: "eof_received() has no effect" not in record.getMessage())


@attrs.frozen
class Opened:
    """The stream as it is when a connection is opened.

    :ivar stream: what it is known by: its name and its own id, for another may come to have the name.
    :ivar first_sequence: of the first message that it still holds.
    :ivar last_sequence: of the last.
    :ivar unknown: servers of which it is not known whether they sync.
    """

    stream: str
    first_sequence: int
    last_sequence: int
    unknown: tuple[str, ...] = ()


class Link:
    """The link of one node.

    :param is_full: whether what is acked has to outlive the loss of a machine (``--durability full``).
    """

    def __init__(self, url: ClusterUrl, *, is_full: bool) -> None:
        self._url = url
        self._is_full = is_full
        self._is_checked = False
        self._client: Client | None = None
        self._lost = asyncio.Event()
        self.room = Room()

    async def open(self, check: Callable[[Opened], None] = lambda _opened: None, *, missing: str = "") -> Opened:
        """Connect anew, find the stream or make it, and see that it is as it has to be.

        :param check: raises ``UnfitError`` where the node does not go with it; then nothing is published.
        :param missing: what to say where there is none, if it is not to be made.
        :raises LostError: if that is not possible now.
        :raises UnfitError: if it is not.
        """
        await self.close()
        client, lost = Client(), asyncio.Event()
        try:
            await asyncio.wait_for(self._connect(client, lost), _CONNECT_S)
            opened = await self._look_at_stream(client, missing)
            check(opened)
        except BaseException as error:
            await _close(client)
            if isinstance(error, APIError):
                raise LostError(f"{self._url}: {error.description or error}") from None
            if isinstance(error, OSError | TimeoutError | nats.errors.Error):
                raise LostError(f"{self._url}: {str(error) or 'no server answers'}") from None
            raise
        self._client, self._lost, self._is_checked = client, lost, True
        return opened

    async def close(self) -> None:
        """Close the connection, if there is one."""
        self._lost.set()
        if self._client is not None:
            await _close(self._client)
            self._client = None

    async def publish(self, message_id: str, data: bytes) -> int:
        """Have a message stored, once, however often it is published; returns its sequence when a quorum has it.

        :raises LostError: if that is not known in time; it may be stored all the same.
        """
        return await self._publish(self._url.batches, data, {api.Header.MSG_ID: message_id})

    async def mark(self) -> int:
        """Have a mark stored in place of the one before; returns its sequence; raises as ``publish``."""
        return await self._publish(self._url.marks, b"", {api.Header.ROLLUP: "sub"})

    async def consume(self, first: int, deliver: Callable[[Received], None]) -> None:
        """Deliver messages in their order, without a gap, until the connection is lost.

        :param first: the sequence from which on they are wanted.
        :raises LostError: in the end.
        """
        if self._client is None:
            raise LostError("not connected")
        pulling = Pulling(self._client, self._url.stream, deliver, self.room)
        await self._unless_lost(pulling.run(first))

    async def _publish(self, subject: str, data: bytes, headers: dict[str, str]) -> int:
        if self._client is None or self._lost.is_set():
            raise LostError("not connected")
        stream = JetStreamContext(self._client)
        publishing = stream.publish(
            subject, data, timeout=REQUEST_S, stream=self._url.stream, headers=dict[str, Any](headers)
        )
        return (await self._unless_lost(publishing)).seq

    async def _unless_lost(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something, for as long as there is the connection."""
        task, lost = asyncio.ensure_future(work), asyncio.ensure_future(self._lost.wait())
        try:
            await asyncio.wait((task, lost), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise LostError("the connection was lost")
            return task.result()
        except APIError as error:
            raise LostError(str(error.description or error)) from None
        except (OSError, TimeoutError, nats.errors.Error) as error:
            raise LostError(str(error) or "no answer in time") from None
        finally:
            for one in (task, lost):
                one.cancel()

    async def _connect(self, client: Client, lost: asyncio.Event) -> None:
        url = self._url
        tls: dict[str, Any] = {}
        if url.is_tls or url.tls_ca is not None or url.tls_cert is not None:
            context = ssl.create_default_context(cafile=None if url.tls_ca is None else str(url.tls_ca))
            if url.tls_cert is not None:
                context.load_cert_chain(url.tls_cert, url.tls_key)
            tls["tls"] = context
        await client.connect(
            list(url.servers),
            name="wsproto-tracker",
            allow_reconnect=False,
            max_reconnect_attempts=1,  # a round through all servers
            reconnect_time_wait=_ROUND_S,  # type: ignore[arg-type]  # a float is what it takes
            connect_timeout=_ONE_SERVER_S,
            ping_interval=_PING_S,
            max_outstanding_pings=2,
            user=url.user,
            password=url.password,
            user_credentials=None if url.creds is None else str(url.creds),
            error_cb=_ignore,  # whoever waits is told
            closed_cb=_setting(lost),
            disconnected_cb=_setting(lost),
            **tls,
        )

    async def _look_at_stream(self, client: Client, missing: str) -> Opened:
        info = await self._find_stream(client, missing)
        found = stream_problems(info["config"], client.max_payload, self._url, is_full=self._is_full)
        if problems := tuple(found):
            raise UnfitError(f"the stream {self._url.stream}: {'; '.join(problems)}")
        unknown = await self._check_sync(info) if self._is_full and not self._is_checked else ()
        first, last = info["state"]["first_seq"], info["state"]["last_seq"]
        if last == 0:  # a mark goes with the next one, and the stream's beginning would too
            headers: dict[str, Any] = {api.Header.EXPECTED_LAST_SEQUENCE: "0"}
            await JetStreamContext(client).publish(self._url.batches, b"", timeout=REQUEST_S, headers=headers)
        identity = (info["config"].get("metadata") or {}).get(_IDENTITY, info["created"])
        return Opened(f"{self._url.stream} {identity}", first, last, unknown)

    async def _find_stream(self, client: Client, missing: str) -> dict[str, Any]:
        """What the servers say of the stream, which is made if there is none."""
        subject, name = "$JS.API.STREAM", self._url.stream
        try:
            return await ask(client, f"{subject}.INFO.{name}")
        except NotFoundError:
            if missing:
                raise UnfitError(f"{self._url}: {missing}") from None
            if self._is_full and self._url.replicas < LEAST_REPLICAS:
                raise UnfitError(f"{self._url}: expected replicas=3, or --durability replicated") from None
        config = {
            "name": name,
            "description": "events on their way to the timelines of wsproto-tracker",
            "subjects": [f"{name}.>"],
            "retention": "limits",
            "discard": "old",
            "storage": "file",
            "num_replicas": self._url.replicas,
            "max_bytes": self._url.max_bytes,
            "duplicate_window": 120 * _NANOSECONDS,
            "allow_rollup_hdrs": True,
            "metadata": {_IDENTITY: new_id()},
        }
        try:
            await ask(client, f"{subject}.CREATE.{name}", config)
        except APIError as error:
            if error.err_code in _NO_REPLICAS:
                raise UnfitError(
                    f"the stream {name} cannot be made: {error.description}; expected {self._url.replicas} servers in "
                    "the cluster, each with room for max_bytes; for one server, add ?replicas=1 to the URL, and say "
                    "--durability replicated"
                ) from None
            if error.err_code != _MADE_ALREADY:
                raise
        return await ask(client, f"{subject}.INFO.{name}")

    async def _check_sync(self, info: dict[str, Any]) -> tuple[str, ...]:
        """See that the servers that have a replica sync what they ack; returns those of which it is not known.

        :raises UnfitError: if one of them does not, or it is not known of a majority.
        """
        cluster = info.get("cluster") or {}
        others = [replica["name"] for replica in cluster.get("replicas") or ()]
        names = [name for name in (cluster.get("leader"), *others) if name]
        told, silent = {}, []
        answers = await asyncio.gather(
            *(asyncio.to_thread(ask_monitor, address) for address in self._url.monitors), return_exceptions=True
        )
        for address, answer in zip(self._url.monitors, answers, strict=True):
            if isinstance(answer, BaseException):
                silent.append(address)
            else:
                told[answer["server_name"]] = answer
        wrong, unknown = sync_problems(names, told)
        way_out = "; or say --durability replicated, and accept that a power failure may lose what was acked"
        if wrong:
            raise UnfitError(
                f"the servers {', '.join(wrong)} ack before they have synced; expected sync_interval: always in the "
                f"jetstream block of each{way_out}"
            )
        if 2 * len(unknown) >= len(names):
            where = f"{', '.join(silent)} does not answer" if silent else "not all servers are named"
            raise UnfitError(
                f"whether the servers {', '.join(unknown)} sync is not known: {where}; expected http: HOST:8222 in the "
                f"configuration of each, and ?monitor=http://HOST:8222,… in the URL of the store{way_out}"
            )
        return tuple(unknown)


async def _ignore(_error: Exception) -> None:
    """Let nothing be printed."""


def _setting(event: asyncio.Event) -> Callable[[], Coroutine[Any, Any, None]]:
    async def set_() -> None:
        event.set()

    return set_


async def _close(client: Client) -> None:
    with suppress(Exception):  # whatever it has to complain of, it is over
        await asyncio.wait_for(client.close(), REQUEST_S)
