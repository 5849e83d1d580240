"""The settings: one frozen class, filled from flags, the environment and a TOML file, in this order of precedence."""

from wsproto_tracker.settings.keys import key_name
from wsproto_tracker.settings.loading import (
    ENVIRONMENT_PREFIX,
    flag,
    load_settings,
    mistyped_variables,
    suggestion,
    variable,
)
from wsproto_tracker.settings.schema import DURABILITIES, LOG_FORMATS, PUSH_MODES, READ_MODES, Settings, options

__all__ = [
    "DURABILITIES",
    "ENVIRONMENT_PREFIX",
    "LOG_FORMATS",
    "PUSH_MODES",
    "READ_MODES",
    "Settings",
    "flag",
    "key_name",
    "load_settings",
    "mistyped_variables",
    "options",
    "suggestion",
    "variable",
]
