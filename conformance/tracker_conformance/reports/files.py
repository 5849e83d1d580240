"""Which reports can be written into files, and writing them."""

from collections.abc import Callable, Mapping
from pathlib import Path

from tracker_conformance.model import Run
from tracker_conformance.reports import junit, page, saved

__all__ = ["KINDS", "write"]

KINDS: dict[str, Callable[[Run, Mapping[str, str]], str]] = {
    "junit": junit.dumps,
    "json": lambda run, _known: saved.dumps(run),
    "html": page.dumps,
}


def write(run: Run, known: Mapping[str, str], files: Mapping[str, Path]) -> list[str]:
    """Write reports; what could not be written, a line each.

    :param known: see ``outcome``.
    :param files: by kind.
    """
    problems = []
    for kind, file in files.items():
        try:
            file.write_text(KINDS[kind](run, known), "utf-8")
        except OSError as error:
            problems.append(f"--report: {file} cannot be written: {error.strerror}")
    return problems
