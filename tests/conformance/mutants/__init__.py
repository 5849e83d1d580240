"""Servers that each break one requirement, and are predicted to fail exactly the checks that judge it.

A module for each part of the specification. ``registry`` says what a mutant is.
"""

from tests.conformance.mutants import (
    access,
    auth,
    connection,
    errors,
    events,
    extensions,
    filters,
    frames,
    http,
    http_read,
    ingest,
    limits,
    queries,
    times_and_ids,
)
from tests.conformance.mutants.registry import KEY, Mutant, all_mutants

__all__ = [
    "KEY",
    "Mutant",
    "access",
    "all_mutants",
    "auth",
    "connection",
    "errors",
    "events",
    "extensions",
    "filters",
    "frames",
    "http",
    "http_read",
    "ingest",
    "limits",
    "queries",
    "times_and_ids",
]
