"""A pytest plugin: with ``--tracker-url``, each check is a test, ``tracker::queries.newest-first``.

Without, it does nothing. Every pytest that has the suite installed loads this; all else is imported when it is needed.
"""

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tracker_conformance.pytest_items import Suite

__all__ = ["pytest_addoption", "pytest_configure"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options; they are those of the command, with ``tracker-`` before them."""
    add = parser.getgroup("tracker-conformance", "conformance of a server to the tracker protocol").addoption
    add("--tracker-url", metavar="URL", help="the server's wsEndpoint; with it, each check is a test marked tracker")
    add("--tracker-write-url", metavar="URL", help="where batches are posted to, if the server offers that")
    add("--tracker-read-url", metavar="URL", help="where events are read from, likewise")
    add("--tracker-ping-url", metavar="URL", help="the server's pingEndpoint, likewise")
    add("--tracker-api-key-env", metavar="NAME", help="the environment variable with the key, if there is one")
    add("--tracker-ingest-key-env", metavar="NAME", help="likewise, with a key that is only for sending")
    add("--tracker-query-key-env", metavar="NAME", help="likewise, with a key that is only for asking")
    add("--tracker-app-key-env", metavar="NAME", help="likewise, with a key for one app, that of --tracker-app-id")
    add("--tracker-app-id", metavar="ID", help="the appId of the suite's events")
    add("--tracker-origin", metavar="ORIGIN", help="of a page that the server lets in")
    add("--tracker-ca", metavar="FILE", help="certificates, in PEM, to check wss: and https: by")
    add("--tracker-deflate", action="store_true", help="offer permessage-deflate on every connection, as browsers do")
    add("--tracker-read-only", action="store_true", help="leave out what saves events")
    add("--tracker-select", metavar="PATTERNS", help="only these checks")
    add("--tracker-exclude", metavar="PATTERNS", help="all but these checks")
    add("--tracker-level", choices=("must", "should", "may"), default="may", help="only this level or above")
    add("--tracker-timeout-scale", default="1", metavar="N", help="wait N times as long")


def pytest_configure(config: pytest.Config) -> None:
    """Set up the tests, where a server is named.

    :raises pytest.UsageError: if an option is wrong.
    """
    config.addinivalue_line("markers", "tracker: a check of the server that --tracker-url names")
    if config.getoption("--tracker-url") is not None:
        config.pluginmanager.register(_suite(config), "tracker-conformance-suite")


def _suite(config: pytest.Config) -> "Suite":
    from tracker_conformance.pytest_items import Suite

    def option(name: str) -> Any:
        return config.getoption(f"--tracker-{name.replace('_', '-')}")

    return Suite(option)
