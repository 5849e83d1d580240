"""The conformance suite for servers of the tracker protocol (SPEC.md).

``run_suite`` judges a server, from inside a trio program; the command ``tracker-conformance`` does it from a shell.

    cli, plugin             what a person types: a command, or pytest
    ├── options             what is given, checked
    ├── judging             a run that may end early
    ├── outcome             what a run comes to
    └── reports/            JUnit, JSON, HTML, the terminal
    suite                   runs checks
    ├── checks/             what is sent, and how it is judged; a module for each section of the specification
    ├── registry            what a check is, and which are selected
    ├── probe               how a check sends
    │   ├── websocket, http
    │   ├── connections, tls  the two WebSocket libraries, and what they trust
    │   └── recorder        what happens becomes entries
    ├── transcript          the entries, as judges look at them
    └── spec                the requirements
    model                   what a run is made of; plain data
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracker_conformance.model import Result, Run, Verdict
    from tracker_conformance.registry import Check, all_checks, select
    from tracker_conformance.suite import judge_again, run_suite
    from tracker_conformance.target import Target
    from tracker_conformance.websocket import UnreachableError

__all__ = [
    "Check",
    "Result",
    "Run",
    "Target",
    "UnreachableError",
    "Verdict",
    "all_checks",
    "judge_again",
    "run_suite",
    "select",
]

_MODULES = {
    "model": ("Result", "Run", "Verdict"),
    "registry": ("Check", "all_checks", "select"),
    "suite": ("judge_again", "run_suite"),
    "target": ("Target",),
    "websocket": ("UnreachableError",),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for: every pytest that has this installed imports the package."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
