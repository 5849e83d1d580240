"""Fuzzing of what reads bytes from outside: the protocol, the head of a request, the store's file.

- ``targets.py`` lists the targets. Each takes any bytes, and raises where something escapes that is no documented
  error, or where a property does not hold.
- ``corpus/<target>/`` holds inputs to begin with, ``findings/<target>/`` those that a target once failed on.
- ``tests/test_fuzz.py`` replays both, and lets Hypothesis make more. ``python -m tests.fuzz`` is the longer run, which
  is guided by coverage.
"""
