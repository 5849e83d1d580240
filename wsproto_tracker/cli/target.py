"""The server that a command talks to: its address, its key, whom to trust."""

import argparse
import os
import ssl
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from wsproto_tracker.client import Client, open_client
from wsproto_tracker.client.options import ClientOptions
from wsproto_tracker.errors import ConfigurationError, ConnectError, WrongKeyError
from wsproto_tracker.settings import flag

__all__ = ["add_target", "connected", "options_of"]

_DEFAULT_URL = "ws://127.0.0.1:4242/_tracker/ws"
_NAMES = ("url", "api_key", "ca")
_WORDS = {
    "url: ": "--url: ",
    "ssl_context: there is": "--ca: there is",
    "give an ssl_context that trusts its certificate": "give --ca FILE, with the authority of its certificate",
    "set api_key": "set TRACKER_API_KEY, or --api-key",
    "this api_key": "this key",
}


def add_target(parser: argparse.ArgumentParser, *options: str) -> None:
    """Add the options that say which server is meant.

    :param options: the names of the command's other options, for what is said of one that it does not take.
    """
    group = parser.add_argument_group("server")
    group.add_argument("--url", metavar="URL", help=f"its WebSocket endpoint; or TRACKER_URL (default: {_DEFAULT_URL})")
    group.add_argument("--api-key", metavar="KEY", help="the key; better set as TRACKER_API_KEY")
    group.add_argument("--ca", type=Path, metavar="FILE", help="authorities to trust with wss://, in PEM")
    parser.set_defaults(parser=parser, options=[*options, *_NAMES])


@asynccontextmanager
async def connected(parsed: argparse.Namespace, **options: Any) -> AsyncGenerator[Client, None]:
    """A client of that server.

    :param options: see ``open_client``.
    :raises ConfigurationError: for a wrong option.
    :raises ClientError: if there is no connection; the message says why.
    """
    with _in_its_words():
        async with open_client(**{**_told(parsed), **options}) as client:
            yield client


def options_of(parsed: argparse.Namespace) -> ClientOptions:
    """What such a client would be told.

    :raises ConfigurationError: for a wrong option.
    """
    with _in_its_words():
        return ClientOptions(**_told(parsed))


def _told(parsed: argparse.Namespace) -> dict[str, Any]:
    return {
        "url": parsed.url or os.environ.get("TRACKER_URL") or _DEFAULT_URL,
        "app_id": "wsproto-tracker",
        "api_key": parsed.api_key or os.environ.get("TRACKER_API_KEY") or None,
        "ssl_context": None if parsed.ca is None else _trusting(parsed.ca),
    }


@contextmanager
def _in_its_words() -> Iterator[None]:
    """Have errors name the command's options, rather than those of the client in a program."""
    try:
        yield
    except (ConfigurationError, ConnectError, WrongKeyError) as error:
        text = str(error)
        for theirs, ours in _WORDS.items():
            text = text.replace(theirs, ours)
        raise type(error)(text) from error


def _trusting(file: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=file)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "expected certificates in PEM"
        raise ConfigurationError(f"{flag('ca')}: {file}: {reason}") from None
