"""``wsproto-tracker keys``: make keys."""

import argparse
import json
import secrets
from typing import TYPE_CHECKING

from wsproto_tracker.access import Scope
from wsproto_tracker.errors import ConfigurationError
from wsproto_tracker.settings import key_name
from wsproto_tracker.structuring import Fault

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_to"]

_EPILOG = """\
What it prints is for the TOML file that serve is given by --config; the key itself is the plugin's apiKey.

examples:
  wsproto-tracker keys new --app shop >>tracker.toml                 for the build of the page
  wsproto-tracker keys new --app shop --scope query >>tracker.toml   for the build of the dashboard
"""

_KEY_BYTES = 24
_RATE = 1000


def add_to(commands: "Commands") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("keys", help="make keys", description="Make keys.", allow_abbrev=False)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    new = actions.add_parser(
        "new",
        help="print a new key, as a table for the TOML file",
        description="Print a new key, as a table for the TOML file.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    new.add_argument("--name", metavar="NAME", help="what logs and metrics call it (default: from the others)")
    new.add_argument(
        "--scope",
        action="append",
        metavar="SCOPE",
        help="ingest, to send events, or query, to ask for them; both, given twice (default: ingest)",
    )
    new.add_argument("--app", action="append", metavar="ID", help="an appId; may be given again (default: all apps)")
    new.set_defaults(run=_new, parser=new, options=["name", "scope", "app"])


def _new(parsed: argparse.Namespace) -> int:
    scopes, apps = _scopes(parsed.scope), _apps(parsed.app)
    name = _default_name(scopes, apps) if parsed.name is None else _name(parsed.name)
    print("[[keys]]")
    print(f"key = {_text(secrets.token_urlsafe(_KEY_BYTES))}")
    print(f"name = {_text(name)}")
    print(f"scopes = {_list(scopes)}")
    if apps:
        print(f"apps = {_list(apps)}")
    if Scope.INGEST in scopes:
        print(f"rate = {_RATE}  # events per second; set max_event_rate_per_address too, or one page can use all of it")
    return 0


def _scopes(given: list[str] | None) -> list[str]:
    """The scopes, each once.

    :raises ConfigurationError: for what is none.
    """
    scopes = list(dict.fromkeys(given or [Scope.INGEST]))
    if not all(scope in list(Scope) for scope in scopes):
        raise ConfigurationError(f"--scope: expected {' or '.join(Scope)}; for both, give it twice")
    return scopes


def _apps(given: list[str] | None) -> list[str]:
    """The apps, each once.

    :raises ConfigurationError: for an app that cannot be written down.
    """
    apps = list(dict.fromkeys(given or ()))
    for app in apps:
        if not app or any("\ud800" <= character <= "\udfff" for character in app):
            raise ConfigurationError("--app: expected an appId, in UTF-8")
    return apps


def _name(given: str) -> str:
    try:
        return key_name(given)
    except Fault as fault:
        raise ConfigurationError(f"--name: {fault}") from None


def _default_name(scopes: list[str], apps: list[str]) -> str:
    """A name such as ``shop-ingest``, that tells the keys of a file apart."""
    try:
        return key_name("-".join([*apps, *scopes]))
    except Fault:
        return "-".join(scopes)


def _list(texts: list[str]) -> str:
    return f"[{', '.join(map(_text, texts))}]"


def _text(text: str) -> str:
    """The text in TOML, where strings are spelled as in JSON, but for one control character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", r"\u007f")
