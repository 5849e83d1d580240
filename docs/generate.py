"""``python -m docs.generate``: write the pages that are made from the code, ``settings.md`` and ``commands.md``."""

import argparse
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import attrs
from tracker_conformance import cli as conformance

from wsproto_tracker.access import Key
from wsproto_tracker.cli import command_line
from wsproto_tracker.settings import ENVIRONMENT_PREFIX, flag, options, variable
from wsproto_tracker.settings.keys import read_keys
from wsproto_tracker.structuring import Fault

__all__ = ["PAGES", "commands_page", "parsers", "settings_page"]

_WIDTH = 100

_GROUPS = {
    "Where it listens": (
        "host",
        "port",
        "unix",
        "base_path",
        "tls_cert",
        "tls_key",
        "trusted_proxy",
        "metrics_address",
        "log_format",
    ),
    "Keys and origins": ("api_key", "origins"),
    "The store": ("store", "durability", "max_events", "max_age", "max_bytes", "push"),
    "A cluster": ("local", "read"),
    "Limits: connections": (
        "max_connections",
        "max_connections_per_address",
        "max_auth_failures",
        "max_head_bytes",
        "max_subscriptions",
        "max_push_bytes",
    ),
    "Limits: events": (
        "max_frame_bytes",
        "max_inflate_ratio",
        "max_events_per_frame",
        "max_event_bytes",
        "max_event_rate",
        "max_event_rate_per_address",
        "max_rate_delay_s",
        "max_receiving_bytes",
        "max_uncommitted_bytes",
        "max_pending_replies",
    ),
    "Limits: answers": ("max_queries", "max_queries_per_address", "max_query_delay_s"),
    "Time": (
        "head_timeout_s",
        "first_frame_timeout_s",
        "idle_timeout_s",
        "receive_timeout_s",
        "message_timeout_s",
        "send_timeout_s",
        "answer_timeout_s",
        "ping_interval_s",
        "ping_timeout_s",
        "drain_timeout_s",
    ),
}

_KEY_MEMBERS = {
    "key": "the key itself, which is the plugin's `apiKey`",
    "key_env": "the name of the environment variable that holds the key, in place of `key`",
    "name": "what logs and metrics call it; no two are the same",
    "scopes": "what it is for: sending events, asking for them, or both",
    "apps": "the `appId`s whose events it may send and sees; left out: all",
    "origins": "where pages may come from that use it; left out: wherever the server lets pages in",
    "rate": "events per second that may be sent with it; left out: what `max_event_rate` says",
}

_NOTE = "<!-- Made from the code: python -m docs.generate -->"

_SETTINGS = f"""\
{_NOTE}

# Settings

Every option of `wsproto-tracker serve`. Each can be given in three ways: as a flag, as an environment variable, or as a
line of a TOML file that `--config` or `{ENVIRONMENT_PREFIX}CONFIG` names. A flag beats the environment, which beats
the file, which beats the default.

```console
$ wsproto-tracker serve --max-events 1000
$ {variable("max_events")}=1000 wsproto-tracker serve
$ echo 'max_events = 1000' >>tracker.toml
$ wsproto-tracker serve --config tracker.toml
```

A value that is not allowed ends the command with status 2, and a line for each that is wrong, in the spelling of its
source. A variable that begins with `{ENVIRONMENT_PREFIX}` and is nearly one of these is pointed out. In a program they
are the members of `wsproto_tracker.Settings`, under the names that they have in the file.

Sizes are in bytes, times in seconds. In the file a number may be written as one (`port = 4242`), and a list as a list
(`origins = ["https://shop.example"]`) or with commas in one text, as in a flag. What a client sees of each limit is
told in [`limits.md`](limits.md).
"""

_KEYS = f"""\
## Tables of keys

Keys with a purpose are tables, which only the file can have. `{variable("api_key")}` is one more key, that opens
everything. What to do with them:
[Keys for the page and the dashboard](getting-started.md#keys-for-the-page-and-the-dashboard).

```toml
[[keys]]
key_env = "SHOP_PAGE_KEY"
name = "shop-page"
scopes = ["ingest"]
apps = ["shop"]
origins = ["https://shop.example"]
rate = 1000
```

| member | | meaning |
|---|---|---|
"""

_COMMANDS = f"""\
{_NOTE}

# Commands

What each command says of itself with `--help`. The options of `serve` are explained in [`settings.md`](settings.md),
the suite in [its own README](../conformance/README.md).
"""


def settings_page() -> str:
    """The reference of the settings.

    :raises ValueError: if an option is in no group, or a group names none.
    """
    by_name = {option.name: option for option in options()}
    grouped = [name for names in _GROUPS.values() for name in names]
    if sorted(grouped) != sorted(by_name):
        raise ValueError(f"expected each option in one group: {', '.join(sorted(set(grouped) ^ set(by_name)))}")
    parts = [_SETTINGS]
    for title, names in _GROUPS.items():
        lines = ["| flag | environment | file | default | meaning |", "|---|---|---|---|---|"]
        parts.append("\n".join([f"## {title}\n", *lines, *(_setting(by_name[name]) for name in names), ""]))
    parts.append(_KEYS + "\n".join(_key_members()) + "\n")
    return "\n".join(parts)


def _setting(option: "attrs.Attribute[Any]") -> str:
    name, told = option.name, option.metadata["help"]
    allowed = _allowed(lambda: option.metadata["parse"](object()))
    meaning = f"{told[0].upper()}{told[1:]}. Expected: {allowed}."
    cells = [f"`{flag(name)}`", f"`{variable(name)}`", f"`{name}`", _default(option), _cell(meaning)]
    return f"| {' | '.join(cells)} |"


def _allowed(read: Callable[[], object]) -> str:
    """What is allowed, in the words in which it is told to whoever gives something else."""
    try:
        read()
    except Fault as fault:
        return str(fault).partition("expected ")[2]
    raise ValueError("expected a value to be refused that is none")


def _default(option: "attrs.Attribute[Any]") -> str:
    default = option.default
    if default in (None, ()):
        return "none"
    for unit, size in (("MiB", 1024 * 1024), ("KiB", 1024)):
        if option.name.endswith("_bytes") and default % size == 0:
            return f"`{default}` ({default // size} {unit})"
    return f"`{default}`"


def _key_members() -> Iterator[str]:
    """A line for each member of ``[[keys]]``."""
    members = [attribute.name for attribute in attrs.fields(Key)]
    required = {attribute.name for attribute in attrs.fields(Key) if attribute.default is attrs.NOTHING} | {"scopes"}
    if sorted([*members, "key_env"]) != sorted(_KEY_MEMBERS):
        raise ValueError("expected a meaning for each member of a key")
    wrong = _refused({"key": "k", **{name: object() for name in members if name != "key"}})
    for name, meaning in _KEY_MEMBERS.items():
        need = "key or key_env" if name.startswith("key") else "required" if name in required else "optional"
        allowed = f". Expected: {wrong[name]}" if name in wrong else ""
        yield f"| `{name}` | {need} | {meaning[0].upper() + meaning[1:]}{_cell(allowed)}. |"


def _refused(table: dict[str, Any]) -> dict[str, str]:
    """What is allowed for each member of a table of keys that is wrong."""
    try:
        read_keys([table])
    except Fault as fault:
        return dict(re.findall(r"^\[0\]\.(\w+): expected (.*)$", str(fault), re.M))
    raise ValueError("expected a table to be refused that is none")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command, by what a person types."""
    found = dict(_below(command_line()))
    for parser in (conformance._parser(), conformance._rejudge_parser()):
        found |= _below(parser)
    return found


def _below(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """A parser, and those of its commands."""
    yield parser.prog, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _below(command)


def commands_page() -> str:
    """The reference of the commands."""
    with patch.dict(os.environ, {"COLUMNS": str(_WIDTH), "NO_COLOR": "1"}):
        told = {name: parser.format_help() for name, parser in parsers().items()}
    return "\n".join([_COMMANDS, *(f"## {name}\n\n```text\n{help_}```\n" for name, help_ in told.items())])


PAGES: dict[str, Callable[[], str]] = {"settings.md": settings_page, "commands.md": commands_page}
"""The pages that are made, and what makes them."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the pages."""
    parser = argparse.ArgumentParser(prog="python -m docs.generate", description="Write the pages made from the code.")
    parser.parse_args(arguments)
    for name, make in PAGES.items():
        Path(__file__).with_name(name).write_text(make(), "utf-8")


if __name__ == "__main__":
    main()
