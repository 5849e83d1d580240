"""The settings as options of a command."""

import argparse
from pathlib import Path

from wsproto_tracker.settings import Settings, flag, load_settings, options

__all__ = ["add_settings", "settings_of"]


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add an option for each setting, and ``--config``."""
    for option in options():
        default = "" if option.default in (None, ()) else f" (default: {option.default})"
        parser.add_argument(
            flag(option.name),
            dest=option.name,
            metavar=option.metadata["metavar"],
            help=option.metadata["help"] + default,
        )
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file with these options")
    parser.set_defaults(parser=parser, options=[*(option.name for option in options()), "config"])


def settings_of(parsed: argparse.Namespace) -> Settings:
    """The settings that the options, the environment and the file make.

    :raises ConfigurationError: naming what is wrong.
    """
    given = {option.name: getattr(parsed, option.name) for option in options()}
    return load_settings({name: value for name, value in given.items() if value is not None}, file=parsed.config)
