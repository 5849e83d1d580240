"""Who is let in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproto_tracker.access import ANYBODY, Access, Grant, Key, Scope
from wsproto_tracker.errors import ConfigurationError, FrameError

KEYS = st.text(st.characters() | st.sampled_from("\ud83d\ude80\xe9\x00"), min_size=1, max_size=12)


@pytest.mark.parametrize("key", [None, "", "s3cret", "\ud83d"], ids=ascii)
def test_everybody_is_let_in_where_no_key_is_configured(key: str | None) -> None:
    """Without a configured key any key is right, and so is none (AUTH-2, AUTH-6)."""
    assert Access().grant(key) is not None
    assert not Access().needs_key


@given(KEYS)
def test_the_right_key_is_let_in(key: str) -> None:
    """Whatever the key is, it opens, beyond ASCII and with lone surrogates too (AUTH-1, FRAME-8)."""
    assert Access.of(key).needs_key
    assert Access.of(key).grant(key) is not None
    assert Access.of(key).grant("".join(key)) is not None


@given(KEYS, KEYS | st.none() | st.just(""))
def test_no_other_key_is_let_in(key: str, other: str | None) -> None:
    """A key opens only if it is the very same; an empty one, or none, never does (AUTH-3, SEC-2)."""
    assert (Access.of(key).grant(other) is not None) == (other == key)


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
    assert Access.of("s3cret").grant(key) is None


@pytest.mark.parametrize(
    ("key", "other"), [("\xe9", "e\u0301"), ("\ud83d\ude80", "\U0001f680"), ("\ud83d", "?")], ids=ascii
)
def test_keys_are_compared_as_they_are_spelled(key: str, other: str) -> None:
    """Keys that only look alike, or that a lossy encoding would make alike, are different (AUTH-3)."""
    assert Access.of(key).grant(other) is None
    assert Access.of(other).grant(key) is None


def test_the_key_is_not_shown() -> None:
    """Who prints an ``Access``, in a log perhaps, does not print the key (SEC-1)."""
    access = Access.of("s3cret")
    assert "s3cret" not in f"{access!r} {access}"


PAGE = Key(key="p4ge", name="page", scopes=frozenset([Scope.INGEST]), apps=frozenset(["shop"]))
OFFICE = Key(key="0ffice", name="office", scopes=frozenset([Scope.QUERY]), origins=("https://office.example",))
THIS_MACHINE = [
    *("http://localhost", "http://localhost:5173", "https://localhost:8443", "http://shop.localhost:3000"),
    *("http://127.0.0.1:5173", "http://127.8.9.1", "http://[::1]:5173", "https://[::1]"),
]
ELSEWHERE = [
    *("null", "", "*", "https://shop.example", "http://192.168.0.7:5173", "http://0.0.0.0:5173", "http://[::2]"),
    *(
        "http://localhost.evil.example",
        "http://evil.example:80",
        "http://notlocalhost",
        "http://127.0.0.1.evil.example",
    ),
    *("http://localhost@evil.example", "http://evil.example#@localhost", "http://evil.example/localhost", "localhost"),
    *("file://localhost", "chrome-extension://localhost", "http://[::1", "http://localhost, http://evil.example"),
    *("http://evil.example, http://localhost", "http://1270.0.0.1", "http://\xe9.localhost.evil.example"),
]


def refusal(grant: Grant, scope: Scope) -> str | None:
    """What is said of a use, if it is not allowed."""
    try:
        grant.check(scope)
    except FrameError as problem:
        return f"{problem.code}: {problem.message}"
    return None


class TestKeys:
    def test_each_opens_what_it_is_for(self) -> None:
        """A key brings its own scopes and apps, the short one everything (X-SCOPE-1, X-SCOPE-2, HTTP-7)."""
        access = Access.of("s3cret", (PAGE, OFFICE))
        assert access.grant("p4ge") == PAGE
        assert access.grant("0ffice") == OFFICE
        simple = access.grant("s3cret")
        assert simple is not None
        assert (simple.scopes, simple.apps, simple.origins) == (frozenset(Scope), None, None)
        assert access.grant("p4ge0ffice") is None
        assert [refusal(PAGE, scope) for scope in Scope] == [None, "forbidden: the key is not for asking for events"]
        assert [refusal(OFFICE, scope) for scope in Scope] == ["forbidden: the key is not for sending events", None]
        assert (
            [refusal(simple, scope) for scope in Scope] == [refusal(ANYBODY, scope) for scope in Scope] == [None, None]
        )

    @pytest.mark.parametrize("origin", ["https://other.example", "null", "", "*", "https://office.example:444"])
    def test_a_key_of_other_origins_allows_nothing(self, origin: str) -> None:
        """A right key that is for pages of other origins is no wrong one, and allows nothing (X-SCOPE-6)."""
        found = Access.of(None, (PAGE, OFFICE)).grant("0ffice", origin)
        assert found is not None
        assert found.name == "office"
        assert {refusal(found, scope) for scope in Scope} == {"forbidden: the key is not for pages of this origin"}
        assert found.visible_apps == frozenset()

    @pytest.mark.parametrize("origin", [None, "https://office.example", "HTTPS://Office.Example"])
    def test_a_key_of_this_origin(self, origin: str | None) -> None:
        """A key is for pages of its origins, and for clients that are no pages (X-SCOPE-6)."""
        assert Access.of(None, (PAGE, OFFICE)).grant("0ffice", origin) == OFFICE

    def test_a_wrong_key_is_wrong_everywhere(self) -> None:
        """A wrong key is one from every origin (AUTH-3)."""
        assert Access.of(None, (OFFICE,)).grant("p4ge", "https://office.example") is None

    def test_who_may_not_ask_sees_no_app(self) -> None:
        """Events are shown of a key's apps, and of none where it is not for asking (X-SCOPE-3, X-SCOPE-5)."""
        assert PAGE.visible_apps == frozenset()
        assert OFFICE.visible_apps is None
        assert Grant(name="shop", apps=frozenset(["shop"])).visible_apps == frozenset(["shop"])


class TestOrigins:
    @pytest.mark.parametrize("origin", THIS_MACHINE)
    def test_pages_of_this_machine(self, origin: str) -> None:
        """Without a key, pages of this machine are let in by default (SEC-4)."""
        assert Access().takes_origin(origin)

    @pytest.mark.parametrize("origin", ELSEWHERE)
    def test_pages_of_other_machines(self, origin: str) -> None:
        """Without a key no others are, whatever they look like, and ``null`` is nobody to trust (SEC-4)."""
        assert not Access().takes_origin(origin)

    @given(st.text(max_size=30) | st.text(max_size=9).map(lambda text: f"http://{text}localhost{text}"))
    def test_any_text(self, origin: str) -> None:
        """Whatever is sent as an origin or a name, it is judged, and nothing is raised (SEC-4)."""
        for access in (Access(), Access(origins=("https://shop.example",))):
            assert access.takes_origin(origin) in (True, False)
            assert access.takes_name(origin) in (True, False)

    @pytest.mark.parametrize("origin", [*THIS_MACHINE, *ELSEWHERE])
    def test_any_origin_with_keys(self, origin: str) -> None:
        """With a key pages of any origin are let in by default, for public pages send (SEC-4)."""
        assert Access.of("s3cret").takes_origin(origin)

    @pytest.mark.parametrize("key", [None, "s3cret"])
    def test_a_list_is_all_there_is(self, key: str | None) -> None:
        """Origins that are listed are let in, in any case of letters, and no others (SEC-5)."""
        access = Access.of(key, origins=("https://shop.example", "http://localhost:5173"))
        assert all(map(access.takes_origin, ("https://shop.example", "HTTPS://SHOP.example", "http://localhost:5173")))
        for origin in ("http://shop.example", "https://shop.example:8443", "https://a.shop.example", "null", "*", ""):
            assert not access.takes_origin(origin)
        assert not access.takes_origin("http://localhost:3000")

    @pytest.mark.parametrize("origin", [*THIS_MACHINE, *ELSEWHERE])
    def test_any_origin_by_a_star(self, origin: str) -> None:
        """A star lets all of them in, ``null`` as well."""
        assert Access(origins=("*",)).takes_origin(origin)

    def test_no_page(self) -> None:
        """A client that sends no origin is no page, and let in (SEC-4)."""
        assert Access().takes_origin(None)
        assert Access(origins=("https://shop.example",)).takes_origin(None)


class TestNames:
    @pytest.mark.parametrize("name", ["localhost", "tracker.localhost", "127.0.0.1", "::1", "192.168.0.7", "fe80::1"])
    def test_of_this_machine(self, name: str) -> None:
        """Without a key, a server answers to addresses and to names of this machine (SEC-4)."""
        assert Access().takes_name(name)

    @pytest.mark.parametrize("name", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "x", ""])
    def test_of_somebody_else(self, name: str) -> None:
        """It answers to no other name, which a website may have made lead here (SEC-4)."""
        assert not Access().takes_name(name)
        assert not Access(origins=("https://shop.example",)).takes_name(name)

    def test_of_a_listed_origin(self) -> None:
        """Pages that are let in may be served under the server's own name (SEC-4)."""
        assert Access(origins=("https://shop.example:8443",)).takes_name("shop.example")
        assert Access(origins=("*",)).takes_name("evil.example")

    def test_with_keys(self) -> None:
        """With a key the name does not matter, for whoever comes has to show the key."""
        assert Access.of("s3cret").takes_name("evil.example")


def test_grants_of_any_collection() -> None:
    """Scopes and apps may come as any collection, but for one name in place of several."""
    grant = Grant(name="x", scopes=[Scope.INGEST], apps={"shop", "blog"})
    assert grant == Grant(name="x", scopes=frozenset({Scope.INGEST}), apps=frozenset({"shop", "blog"}))
    with pytest.raises(ConfigurationError, match="apps: expected several names"):
        Grant(name="x", apps="shop")
    with pytest.raises(ConfigurationError, match="scopes: expected some of ingest, query"):
        Grant(name="x", scopes=["read"])  # type: ignore[list-item]
