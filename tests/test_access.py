"""Who is let in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproto_tracker.access import Access

KEYS = st.text(st.characters() | st.sampled_from("\ud83d\ude80\xe9\x00"), min_size=1, max_size=12)


@pytest.mark.parametrize("key", [None, "", "s3cret", "\ud83d"], ids=ascii)
def test_everybody_is_let_in_where_no_key_is_configured(key: str | None) -> None:
    """Without a configured key any key is right, and so is none (AUTH-2, AUTH-6)."""
    assert Access().admits(key)
    assert not Access().needs_key


@given(KEYS)
def test_the_right_key_is_let_in(key: str) -> None:
    """Whatever the key is, it opens, beyond ASCII and with lone surrogates too (AUTH-1, FRAME-8)."""
    assert Access(key).needs_key
    assert Access(key).admits(key)
    assert Access(key).admits("".join(key))


@given(KEYS, KEYS | st.none() | st.just(""))
def test_no_other_key_is_let_in(key: str, other: str | None) -> None:
    """A key opens only if it is the very same; an empty one, or none, never does (AUTH-3, SEC-2)."""
    assert Access(key).admits(other) == (other == key)


@pytest.mark.parametrize(
    "key",
    [
        *(None, "", "s3cre", "s3cret ", " s3cret", "S3cret", "s3cret\x00", "s3crets3cret", "s3cre\u0442"),
        *("s3cret\ud83d", "s3cret\n", "\uff533cret", "x" * 1_000_000),
    ],
    ids=lambda key: ascii(key)[:20],
)
def test_almost_right_is_wrong(key: str | None) -> None:
    """What looks like the key, begins like it or contains it is a wrong one (AUTH-3, HTTP-6)."""
    assert not Access("s3cret").admits(key)


@pytest.mark.parametrize(
    ("key", "other"), [("\xe9", "e\u0301"), ("\ud83d\ude80", "\U0001f680"), ("\ud83d", "?")], ids=ascii
)
def test_keys_are_compared_as_they_are_spelled(key: str, other: str) -> None:
    """Keys that only look alike, or that a lossy encoding would make alike, are different (AUTH-3)."""
    assert not Access(key).admits(other)
    assert not Access(other).admits(key)


def test_the_key_is_not_shown() -> None:
    """Who prints an ``Access``, in a log perhaps, does not print the key (SEC-1)."""
    access = Access("s3cret")
    assert "s3cret" not in f"{access!r} {access}"
