"""``wsproto-tracker limits``: what the settings allow, and the memory that it can take."""

import argparse
from typing import TYPE_CHECKING

from wsproto_tracker.cli.options import add_settings, settings_of
from wsproto_tracker.server.memory import bounds
from wsproto_tracker.settings import Settings, flag, options

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_to"]

_MIB = 1024 * 1024

_EPILOG = """\
examples:
  wsproto-tracker limits --config tracker.toml
  wsproto-tracker limits --max-connections 1000
"""


def add_to(commands: "Commands") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "limits",
        usage="wsproto-tracker limits [OPTION ...]",
        help="print the limits, and the memory that they allow",
        description="Print every limit as the options, the environment and the file set it, and the memory that they "
        "allow at the worst.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_settings(parser)
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Run the command; returns its exit status.

    :raises ConfigurationError: for a wrong option.
    """
    print(report(settings_of(parsed)))
    return 0


def report(settings: Settings) -> str:
    """The limits, and the memory part by part with its sum."""
    lines = ["Limits:"]
    for option in options():
        if option.name.startswith("max_") or option.name.endswith("_timeout_s"):
            value = getattr(settings, option.name)
            lines.append(
                f"  {flag(option.name):30} {'none' if value is None else value!s:>12}  {option.metadata['help']}"
            )
    lines += [
        f"  {f'rate of the key {key.name}':30} {key.rate:>12g}  events per second, in place of {flag('max_event_rate')}"
        for key in settings.keys
        if key.rate is not None
    ]
    parts = list(bounds(settings))
    lines += ["", "Memory that these allow, when every limit is reached at the same time:"]
    lines += [f"  {bound.max_bytes / _MIB:8.0f} MiB  {bound.what} ({bound.why})" for bound in parts]
    lines.append(f"  {sum(bound.max_bytes for bound in parts) / _MIB:8.0f} MiB  in all")
    return "\n".join(lines)
