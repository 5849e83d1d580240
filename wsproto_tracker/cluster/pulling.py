"""Pulling the messages of a stream, in their order and without a gap. It runs in the bridge's asyncio loop."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import attrs
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import api
from nats.js.errors import APIError

from wsproto_tracker.cluster.errors import LostError

__all__ = ["REQUEST_S", "Pulling", "Received", "Room", "ask"]

REQUEST_S = 2.0
_PULLED_MESSAGES = 256
_PULLED_BYTES = 8 * 1024 * 1024
_PULL_S = 10.0
_HEARTBEAT_S = 1.0
_SILENCE_S = 3.0
_FORGET_CONSUMER_S = 30.0
_MESSAGE_OVERHEAD_BYTES = 1024
_MAX_UNAPPLIED_BYTES = 16 * 1024 * 1024
_NANOSECONDS = 1_000_000_000


@attrs.frozen
class Received:
    """A message of the stream.

    :ivar at_s: when the servers took it in, in seconds since 1970.
    """

    sequence: int
    message_id: str
    at_s: int
    data: bytes

    @property
    def memory_bytes(self) -> int:
        """What it takes in memory, about."""
        return len(self.data) + _MESSAGE_OVERHEAD_BYTES


class Room:
    """The memory for messages that are delivered and not applied yet."""

    def __init__(self) -> None:
        self._used_bytes = 0
        self._is_there = asyncio.Event()
        self._is_there.set()

    def take(self, memory_bytes: int) -> None:
        """Count that so much is needed."""
        self._used_bytes += memory_bytes
        if self._used_bytes > _MAX_UNAPPLIED_BYTES:
            self._is_there.clear()

    def give_back(self, memory_bytes: int) -> None:
        """Count that so much is needed no more."""
        self._used_bytes -= memory_bytes
        if self._used_bytes <= _MAX_UNAPPLIED_BYTES:
            self._is_there.set()

    async def wait(self) -> None:
        """Wait until more may be delivered."""
        await self._is_there.wait()


class Pulling:
    """Pulls messages by a consumer of its own, which the servers forget when nobody pulls."""

    def __init__(self, client: Client, stream: str, deliver: Callable[[Received], None], room: Room) -> None:
        self._client = client
        self._stream = stream
        self._deliver = deliver
        self._room = room
        self._taken = 0  # by the consumer's count
        self._last = 0  # the sequence of the message that was delivered last
        self._begins_at = 0  # the first that the stream held, at the moment from which on these many were looked into:
        self._waiting: Subscription
        self._known = 0  # messages that had come by then, and are not taken yet
        self._remaining = 0  # of what was pulled
        self._failure = ""
        self._has_ended = asyncio.Event()
        self._heard_at = 0.0

    async def run(self, first: int) -> None:
        """Pull until something is wrong.

        :raises LostError: then.
        """
        config = {
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": first,
            "ack_policy": "none",
            "max_waiting": 4,
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": int(_FORGET_CONSUMER_S * _NANOSECONDS),
        }
        question = {"stream_name": self._stream, "config": config}
        self._last = first - 1
        made = await ask(self._client, f"$JS.API.CONSUMER.CREATE.{self._stream}", question)
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{made['name']}"
        inbox = self._client.new_inbox()
        self._waiting = await self._client.subscribe(
            inbox, cb=self._take, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        pull = {
            "batch": _PULLED_MESSAGES,
            "max_bytes": max(_PULLED_BYTES, 2 * self._client.max_payload),
            "expires": int(_PULL_S * _NANOSECONDS),
            "idle_heartbeat": int(_HEARTBEAT_S * _NANOSECONDS),
        }
        loop = asyncio.get_running_loop()
        while not self._failure:
            await self._room.wait()
            self._has_ended.clear()
            self._remaining = _PULLED_MESSAGES
            self._heard_at = loop.time()
            await self._client.publish(subject, json.dumps(pull).encode(), reply=inbox)
            while not self._has_ended.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._has_ended.wait(), _HEARTBEAT_S)
                if not self._has_ended.is_set() and loop.time() > self._heard_at + _SILENCE_S:
                    raise LostError("the stream is silent")
        raise LostError(self._failure)

    async def _take(self, message: Msg) -> None:
        """Take a message, or what is said in place of one."""
        self._heard_at = asyncio.get_running_loop().time()
        self._known -= 1
        headers = message.headers or {}
        if not message.reply and (status := headers.get("Status")):
            self._hear(status, headers.get("Description", ""))
            return
        if self._failure:
            return
        number = message.metadata.sequence
        self._taken += 1
        if number.consumer != self._taken:
            self._end(f"message {self._taken} of the consumer is missing")
            return
        if number.stream != self._last + 1 and (why_not := await self._why_not_whole()):
            self._end(why_not)
            return
        self._last = number.stream
        at_s = int(message.metadata.timestamp.timestamp())
        message_id = headers.get(api.Header.MSG_ID, f"message {number.stream}")
        received = Received(number.stream, message_id, at_s, message.data)
        self._room.take(received.memory_bytes)
        self._deliver(received)
        self._remaining -= 1
        if self._remaining == 0:
            self._has_ended.set()

    async def _why_not_whole(self) -> str:
        """What is wrong where messages after the last one were discarded; nothing where what is missing were marks."""
        if self._known < 0:
            self._known = self._waiting.pending_msgs
            try:
                info = await ask(self._client, f"$JS.API.STREAM.INFO.{self._stream}")
            except Exception as error:
                return f"whether messages are missing is not known: {error}"
            self._begins_at = info["state"]["first_seq"]
        is_whole = self._begins_at <= self._last + 1
        return "" if is_whole else f"messages after {self._last} are gone from the stream"

    def _hear(self, status: str, description: str) -> None:
        if status == "100":
            return  # a heartbeat
        if status in ("404", "408") or any(word in description.lower() for word in ("completed", "maxbytes")):
            self._has_ended.set()
        else:
            self._end(f"{status} {description}")

    def _end(self, failure: str) -> None:
        self._failure = failure
        self._has_ended.set()


async def ask(client: Client, subject: str, question: object = None) -> dict[str, Any]:
    """Ask the JetStream API.

    :raises APIError: if the answer is an error.
    """
    data = b"" if question is None else json.dumps(question).encode()
    try:
        answer: dict[str, Any] = json.loads((await client.request(subject, data, timeout=REQUEST_S)).data)
    except nats.errors.NoRespondersError:
        raise LostError("JetStream has no leader, or is not enabled for this user") from None
    if "error" in answer:
        APIError.from_error(answer["error"])
    return answer
