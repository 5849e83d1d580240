"""The settings: where they come from, what beats what, and what a wrong one is told."""

import json
import traceback
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproto_tracker import ConfigurationError, Settings, load_settings
from wsproto_tracker.access import Key, Scope
from wsproto_tracker.settings import PUSH_MODES, flag, mistyped_variables, options

EXAMPLES: dict[str, Any] = {
    "host": "::1",
    "port": 8080,
    "base_path": "/a/b-c",
    "store": "nats://10.0.0.1:4222,10.0.0.2/TRACKER?replicas=5",
    "local": Path("/var/lib/node.db"),
    "read": "local",
    "durability": "replicated",
    "api_key": "s3cret",
    "unix": Path("/run/tracker.sock"),
    "origins": ("https://shop.example", "http://localhost:5173"),
    "tls_cert": Path("/etc/cert.pem"),
    "tls_key": Path("/etc/key.pem"),
    "trusted_proxy": (ip_network("10.0.0.0/8"), ip_network("::1"), "unix"),
    "metrics_address": ("::1", 9464),
    "log_format": "json",
    "max_events": 7,
    "max_age": timedelta(hours=36),
    "max_bytes": 1048576,
    "push": "off",
    "max_frame_bytes": 2048,
    "max_head_bytes": 4096,
    "max_connections": 5,
    "max_connections_per_address": 4,
    "max_auth_failures": 3,
    "max_events_per_frame": 6,
    "max_event_bytes": 1025,
    "max_event_rate": 0.5,
    "max_event_rate_per_address": 1000.0,
    "max_rate_delay_s": 1.25,
    "max_inflate_ratio": 11,
    "max_receiving_bytes": 1048577,
    "max_queries": 8,
    "max_subscriptions": 9,
    "max_queries_per_address": 2,
    "max_query_delay_s": 2.25,
    "max_pending_replies": 1,
    "max_uncommitted_bytes": 1024,
    "max_push_bytes": 1024,
    "head_timeout_s": 0.5,
    "first_frame_timeout_s": 0.75,
    "message_timeout_s": 7.5,
    "idle_timeout_s": 1.5,
    "receive_timeout_s": 2.5,
    "send_timeout_s": 3.5,
    "answer_timeout_s": 90.5,
    "ping_interval_s": 4.5,
    "ping_timeout_s": 5.5,
    "drain_timeout_s": 6.5,
}
ODD_TEXTS = {"max_age": "36h", "metrics_address": "[::1]:9464"}
TEXTS = {
    name: ",".join(map(str, value)) if isinstance(value, tuple) else str(value) for name, value in EXAMPLES.items()
} | ODD_TEXTS
PAIRS = {
    "tls_cert": ("tls_cert", "tls_key"),
    "tls_key": ("tls_cert", "tls_key"),
    "local": ("local", "store"),
    "durability": ("durability", "store"),
}
NAMES = [option.name for option in options()]
SECONDS = [name for name in NAMES if name.endswith("_s")]
HUGE = "1" + "0" * 400  # a whole number that is no float

PORT = "expected a whole number from 0 to 65535"
HOST = "expected a host name or an IP address"
BASE_PATH = "expected a path such as /_tracker"
STORE = "expected sqlite: and a file, such as sqlite:tracker.db or sqlite:/var"
AGE = "expected a number and a unit of s, m, h or d, such as 90s, 12h or 30d"
API_KEY = "expected a key that is not empty"
PUSH = "expected one of subscribers, queriers, off"
ORIGINS = "expected origins"
SOME_SECONDS = "expected a number of seconds greater than 0"

WRONG_TEXT = [
    *[("port", text, PORT) for text in ("abc", "70000", "65536", "-1", "", "1.5", "1e3", "0x10", "٤", HUGE)],
    *[("host", text, HOST) for text in ("my host", "", "localhost ", "a/b", "http://localhost", "a\n")],
    *[("base_path", text, BASE_PATH) for text in ("tracker", "/a b", "/a?b=c", "/a#b", "/a//b", "/ä", "/%20", "/a\n")],
    *[
        ("store", text, STORE)
        for text in ("sqlite:", "sqlite::memory:", "sqlite", "memory", "memory:x", "postgres:x", "a\0b", "", "nats:x/y")
    ],
    *[
        ("store", f"nats://{text}", "such as nats://10.0.0.1:4222,")
        for text in ("", "/S", "h", "h/", "h/a/b", "h/ä", "h,/S")
    ],
    *[("store", f"nats://h:{text}/S", "expected ports from 1 to 65535") for text in ("0", "70000")],
    ("store", "nats://h/S?what=1", "expected parameters among creds, tls_ca, "),
    ("store", "nats://token@h/S", "expected user:password@ before the servers"),
    ("store", "nats://h/S?replicas=2", "expected ?replicas= with 1, 3 or 5"),
    ("store", "nats://h/S?max_bytes=1GB", "expected ?max_bytes= with a number of bytes from 1000000"),
    ("store", "nats://h/S?monitor=h:8222", "expected ?monitor= with addresses such as http://10.0.0.1:8222"),
    ("store", "tls://h/S?tls_cert=c.pem", "expected tls_cert and tls_key, or neither"),
    ("store", "nats://h/S?creds=", "expected ?creds= with the path of a file"),
    *[("read", text, "expected one of latest, local") for text in ("", "LATEST", "all")],
    ("local", "", "expected the path of a file"),
    *[("durability", text, "expected one of full, normal, replicated") for text in ("FULL", "off", "")],
    *[("max_age", text, AGE) for text in ("30", "0d", "0s", "-1d", "1w", "1.5h", "30 d", "9999999d", "")],
    *[("max_bytes", text, "expected a whole number from 1048576") for text in ("1048575", "10GB", "")],
    ("api_key", "", API_KEY),
    *[(name, text, "expected the path of a file") for name in ("unix", "tls_cert", "tls_key") for text in ("", "a\0b")],
    *[
        ("origins", text, ORIGINS)
        for text in ("shop.example", "https://a.example/", "https://u@a", "ftp:/x", "a b", "")
    ],
    *[("origins", text, "expected origins") for text in ("https://a.example,", ",")],
    ("origins", "https://a.example,null", "null is the origin of every page that hides its own"),
    *[("trusted_proxy", text, "such as 127.0.0.1 or 10.0.0.0/8, or unix") for text in ("proxy", "10.0.0.1/8", "")],
    *[
        ("metrics_address", text, "such as 127.0.0.1:9464")
        for text in ("9464", "localhost", ":", "a b:1", "x:70000", "")
    ],
    *[("log_format", text, "expected one of console, json") for text in ("text", "JSON", "")],
    ("max_inflate_ratio", "9", "expected a whole number from 10"),
    ("max_receiving_bytes", "1048575", "expected a whole number from 1048576"),
    *[
        (name, text, "expected a number greater than 0")
        for name in ("max_event_rate", "max_event_rate_per_address")
        for text in ("0", "-1", "nan", "inf", "many", "")
    ],
    *[("push", text, PUSH) for text in ("everyone", "Off", "")],
    *[("max_events", text, "expected a whole number from 1") for text in ("0", "-1", "many", "")],
    *[("max_pending_replies", text, "expected a whole number from 1") for text in ("0", "some")],
    *[(name, "1023", "from 1024") for name in ("max_frame_bytes", "max_head_bytes", "max_push_bytes")],
    *[(name, text, SOME_SECONDS) for name in SECONDS for text in ("0", "-1", "nan", "inf", "1e999", "soon", "")],
]
WRONG_TOML = [
    *[("port", value, PORT) for value in ('"abc"', "70000", "-1", "true", "1.5", "[1]", "{a = 1}", HUGE)],
    *[("host", value, HOST) for value in ('"my host"', '""', "5", "1979-05-27")],
    *[("base_path", value, BASE_PATH) for value in ('"tracker"', '"/a b"', '"/a?b=c"', "5", "[]")],
    *[("store", value, STORE) for value in ('"sqlite:"', "5", "[]")],
    *[("api_key", value, API_KEY) for value in ('""', "5", "true", '["s3cret"]')],
    *[("push", value, PUSH) for value in ('"everyone"', "false", '["off"]')],
    *[("max_events", value, "expected a whole number from 1") for value in ("0", "true", "1.0", "inf")],
    *[(name, "1023", "from 1024") for name in ("max_frame_bytes", "max_head_bytes", "max_push_bytes")],
    *[(name, value, SOME_SECONDS) for name in SECONDS for value in ("0", "true", "nan", "inf", '"soon"', "[]")],
    ("idle_timeout_s", HUGE, SOME_SECONDS),
]
WRONG_PYTHON: list[tuple[str, Any]] = [
    *[("port", value) for value in (70_000, -1, True, "4242", 1.0, None)],
    *[("host", value) for value in ("my host", "", None, b"localhost")],
    *[("base_path", value) for value in ("tracker", "/a b", "/a?b=c", "/a/", "/", None)],
    *[("store", value) for value in ("sqlite:", None)],
    *[("max_age", value) for value in ("30d", 30, timedelta(0))],
    *[("api_key", value) for value in ("", 5, b"s3cret")],
    *[("push", value) for value in ("everyone", None, ["off"])],
    *[("max_events", value) for value in (0, True, "1", None)],
    *[(name, value) for name in SECONDS for value in (0, -1.0, True, float("nan"), float("inf"), "5", None)],
    ("idle_timeout_s", int(HUGE)),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a test may put its file."""
    return tmp_path / "tracker.toml"


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file for all the examples of a property."""
    return tmp_path_factory.mktemp("settings") / "tracker.toml"


def variable(name: str) -> str:
    """A setting's spelling in the environment."""
    return f"TRACKER_{name.upper()}"


def short(value: object) -> str:
    """A parameter as part of a test's name."""
    return repr(value)[:20]


def refusal(flags: dict[str, str], environment: dict[str, str] | None = None, file: Path | None = None) -> str:
    """What is said of settings that are not allowed."""
    with pytest.raises(ConfigurationError) as refused:
        load_settings(flags, environment or {}, file)
    return str(refused.value)


class TestSources:
    def test_examples_are_complete(self) -> None:
        """The tests below know every option."""
        assert sorted(EXAMPLES) == sorted(NAMES)

    def test_default(self) -> None:
        """Where nothing is set, the defaults are those of the class."""
        assert load_settings({}, {}) == Settings()
        assert (Settings().host, Settings().port, Settings().base_path) == ("127.0.0.1", 4242, "/_tracker")

    @pytest.mark.parametrize("name", NAMES)
    def test_flag(self, name: str) -> None:
        """Every option is read from the text of its flag."""
        names = PAIRS.get(name, (name,))
        given = {name: TEXTS[name] for name in names}
        assert load_settings(given, {}) == Settings(**{name: EXAMPLES[name] for name in names})

    @pytest.mark.parametrize("name", NAMES)
    def test_environment(self, name: str) -> None:
        """Every option is read from its variable."""
        names = PAIRS.get(name, (name,))
        given = {variable(name): TEXTS[name] for name in names}
        assert load_settings({}, given) == Settings(**{name: EXAMPLES[name] for name in names})

    def test_file(self, file: Path) -> None:
        """Every option is read from TOML."""
        values = EXAMPLES | ODD_TEXTS
        values = {
            name: list(map(str, value))
            if isinstance(value, tuple)
            else str(value)
            if isinstance(value, Path)
            else value
            for name, value in values.items()
        }
        file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()), "utf-8")
        assert load_settings({}, {}, file) == Settings(**EXAMPLES)

    def test_precedence(self, file: Path) -> None:
        """A flag beats the environment, which beats the file, which beats the default."""
        file.write_text("port = 1\nmax_events = 1\nmax_pending_replies = 1", "utf-8")
        environment = {"TRACKER_PORT": "2", "TRACKER_MAX_EVENTS": "2"}
        settings = load_settings({"port": "3"}, environment, file)
        assert settings == Settings(port=3, max_events=2, max_pending_replies=1)

    def test_process_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The environment is that of the process, unless another is given."""
        monkeypatch.setenv("TRACKER_PORT", "1")
        assert load_settings({}).port == 1
        assert load_settings({}, {}).port == 4242

    def test_other_variables(self) -> None:
        """Variables without the prefix do not matter."""
        assert load_settings({}, {"PORT": "1", "HOST": "a b", "tracker_port": "1"}) == Settings()

    def test_config_variable(self, file: Path) -> None:
        """TRACKER_CONFIG names the file."""
        file.write_text("port = 1", "utf-8")
        assert load_settings({}, {"TRACKER_CONFIG": str(file)}).port == 1

    def test_config_variable_is_beaten(self, file: Path, tmp_path: Path) -> None:
        """The file that is given beats the file that TRACKER_CONFIG names, which is not read."""
        file.write_text("port = 1", "utf-8")
        assert load_settings({}, {"TRACKER_CONFIG": str(tmp_path / "missing.toml")}, file).port == 1

    def test_empty_config_variable(self) -> None:
        """An empty TRACKER_CONFIG is none."""
        assert load_settings({}, {"TRACKER_CONFIG": ""}) == Settings()

    @pytest.mark.parametrize(("given", "read"), [("/a/", "/a"), ("/a/b//", "/a/b"), ("/", "")])
    def test_base_path(self, given: str, read: str, file: Path) -> None:
        """Slashes at the end of the base path do not count, and / means none."""
        file.write_text(f"base_path = {json.dumps(given)}", "utf-8")
        assert load_settings({"base_path": given}, {}).base_path == read
        assert load_settings({}, {"TRACKER_BASE_PATH": given}).base_path == read
        assert load_settings({}, {}, file).base_path == read

    @pytest.mark.parametrize("mode", PUSH_MODES)
    def test_push(self, mode: str) -> None:
        """Every mode of pushing is taken."""
        assert load_settings({"push": mode}, {}).push == mode


class TestWrongValues:
    @pytest.mark.parametrize(("name", "text", "allowed"), WRONG_TEXT, ids=short)
    def test_flag(self, name: str, text: str, allowed: str) -> None:
        """A wrong flag is named as it is typed, with what is allowed."""
        assert refusal({name: text}).startswith(f"{flag(name)}: expected ")
        assert allowed in refusal({name: text})

    @pytest.mark.parametrize(("name", "text", "allowed"), WRONG_TEXT, ids=short)
    def test_environment(self, name: str, text: str, allowed: str) -> None:
        """A wrong variable is named as it is set, with what is allowed."""
        assert refusal({}, {variable(name): text}).startswith(f"{variable(name)}: expected ")
        assert allowed in refusal({}, {variable(name): text})

    @pytest.mark.parametrize(("name", "value", "allowed"), WRONG_TOML, ids=short)
    def test_file(self, name: str, value: str, allowed: str, file: Path) -> None:
        """A wrong value in a file is named with the file, with what is allowed."""
        file.write_text(f"{name} = {value}", "utf-8")
        assert refusal({}, {}, file).startswith(f"{file}: {name}: expected ")
        assert allowed in refusal({}, {}, file)

    @pytest.mark.parametrize(("name", "value"), WRONG_PYTHON, ids=short)
    def test_python(self, name: str, value: object) -> None:
        """A wrong value in Python is named by its field, with what is allowed."""
        with pytest.raises(ConfigurationError, match=f"^{name}: expected "):
            Settings(**{name: value})  # type: ignore[arg-type]

    def test_python_normalises_nothing(self) -> None:
        """What would have to be changed to be right is wrong in Python, and the message has it right."""
        with pytest.raises(ConfigurationError, match=r"^base_path: expected '/a' in place of '/a/'$"):
            Settings(base_path="/a/")

    def test_several(self, file: Path) -> None:
        """Every wrong value is told at once, a line for each, in the spelling of its source."""
        file.write_text('push = "everyone"\nhost = "a b"\nmax_head_bytes = 2048', "utf-8")
        environment = {"TRACKER_MAX_EVENTS": "0", "TRACKER_SEND_TIMEOUT_S": "1"}
        lines = refusal({"port": "abc", "base_path": "x"}, environment, file).splitlines()
        told = sorted(line.partition(": expected ")[0] for line in lines)
        assert told == sorted(["--port", "--base-path", "TRACKER_MAX_EVENTS", f"{file}: push", f"{file}: host"])


class TestFile:
    def test_missing(self, file: Path) -> None:
        """A file that is not there is named."""
        assert refusal({}, {}, file).startswith(f"{file}: cannot be read: ")
        assert refusal({}, {"TRACKER_CONFIG": str(file)}).startswith(f"{file}: cannot be read: ")

    def test_directory(self, tmp_path: Path) -> None:
        """A directory is no file."""
        assert refusal({}, {}, tmp_path).startswith(f"{tmp_path}: cannot be read: ")

    def test_no_path(self) -> None:
        """What cannot be a path at all is refused as a file that is not there."""
        assert "cannot be read" in refusal({}, {"TRACKER_CONFIG": "a\0b"})

    def test_not_utf8(self, file: Path) -> None:
        """A file in another encoding is refused, and told which is expected."""
        file.write_bytes('host = "ä"'.encode("latin-1"))
        assert refusal({}, {}, file) == f"{file}: expected TOML in UTF-8"

    @pytest.mark.parametrize("text", ["port", "port = ", "{", "port = 1\nport = 2", "port: 1"])
    def test_not_toml(self, file: Path, text: str) -> None:
        """A file that is no TOML is refused."""
        file.write_text(text, "utf-8")
        assert refusal({}, {}, file).startswith(f"{file}: expected TOML: ")

    @pytest.mark.parametrize("value", ["1" * 5000, "[" * 5000], ids=["digits", "brackets"])
    def test_absurd_toml(self, file: Path, value: str) -> None:
        """A file that is too much for the TOML parser is refused as any other that it cannot read."""
        file.write_text(f"port = {value}", "utf-8")
        assert refusal({}, {}, file).startswith(f"{file}: ")

    @pytest.mark.parametrize(
        ("name", "suggestion"),
        [
            ("prot", "did you mean port?"),
            ("max-events", "did you mean max_events?"),
            ("apikey", "did you mean api_key?"),
            ("zzz", f"the options are {', '.join(attribute.name for attribute in attrs.fields(Settings))}"),
        ],
    )
    def test_unknown_option(self, file: Path, name: str, suggestion: str) -> None:
        """An option that does not exist is named, with the one that was meant."""
        file.write_text(f'{name} = "s3cret"', "utf-8")
        assert refusal({}, {}, file) == f"{file}: {name}: no such option; {suggestion}"

    def test_section(self, file: Path) -> None:
        """Options are at the top of the file; a section is no option."""
        file.write_text("[server]\nport = 1", "utf-8")
        assert refusal({}, {}, file).startswith(f"{file}: server: no such option; ")

    def test_several_unknown_options(self, file: Path) -> None:
        """Every unknown option is told, a line for each."""
        file.write_text("prot = 1\nhsot = 2", "utf-8")
        assert [line.split(": ")[1] for line in refusal({}, {}, file).splitlines()] == ["prot", "hsot"]


class TestKey:
    def test_repr(self) -> None:
        """The key is in no representation of the settings."""
        settings = Settings(api_key="s3cret")
        assert "s3cret" not in f"{settings!r} {settings}"
        assert settings.api_key == "s3cret"

    def test_messages(self, file: Path) -> None:
        """The key is in no message about something else, wherever it is set."""
        assert "s3cret" not in refusal({"api_key": "s3cret", "port": "abc"})
        assert "s3cret" not in refusal({"port": "abc"}, {"TRACKER_API_KEY": "s3cret"})
        file.write_text('api_key = "s3cret"\nport = "abc"', "utf-8")
        assert "s3cret" not in refusal({}, {}, file)
        with pytest.raises(ConfigurationError) as refused:
            Settings(api_key="s3cret", port=70_000)
        assert "s3cret" not in str(refused.value)

    @pytest.mark.parametrize("value", ["s3cret", '"s3cret', '["s3cret"]', '{s = "s3cret"}', '"s3cret" 5', "'s3cret\n'"])
    def test_messages_about_the_key(self, file: Path, value: str) -> None:
        """A key that is written down wrongly is in no message, and in no traceback either."""
        file.write_text(f"api_key = {value}", "utf-8")
        with pytest.raises(ConfigurationError) as refused:
            load_settings({}, {}, file)
        assert "s3cret" not in "".join(traceback.format_exception(refused.value))


TABLES = """
[[keys]]
key = "p4ge"
name = "shop-page"
scopes = ["ingest"]
apps = ["shop", "blog"]
origins = ["https://shop.example", "http://LOCALHOST:5173"]
rate = 1000

[[keys]]
key_env = "OFFICE_KEY"
name = "office.1_a"
"""
OFFICE = {"OFFICE_KEY": "0ffice"}


class TestKeys:
    def test_tables(self, file: Path) -> None:
        """Keys are tables; what is left out is everything, and a key may be in a variable of any name."""
        file.write_text(TABLES, "utf-8")
        settings = load_settings({}, OFFICE, file)
        page = Key(
            key="p4ge",
            name="shop-page",
            scopes=frozenset([Scope.INGEST]),
            apps=frozenset(["shop", "blog"]),
            origins=("https://shop.example", "http://localhost:5173"),
            rate=1000.0,
        )
        assert settings.keys == (page, Key(key="0ffice", name="office.1_a"))
        assert settings.access.keys == settings.keys
        assert Settings(keys=settings.keys) == settings
        assert "0ffice" not in f"{settings!r} {settings}"

    def test_beside_the_short_way(self, file: Path) -> None:
        """``api_key`` is a key beside them, with everything."""
        file.write_text(TABLES, "utf-8")
        simple, *others = load_settings({}, OFFICE | {"TRACKER_API_KEY": "s3cret"}, file).access.keys
        assert simple == Key(key="s3cret", name="api-key")
        assert len(others) == 2

    @pytest.mark.parametrize(
        ("table", "told"),
        [
            ('name = "x"', "[0]: expected key, or key_env with the name of the variable that holds it"),
            ('name = "x"\nkey_env = "MISSING"', "[0].key_env: no variable of this name is set; expected the key in it"),
            ('name = "x"\nkey_env = ""', "[0].key_env: expected the name of an environment variable"),
            ('name = "x"\nkey_env = "OFFICE_KEY"\nkey = "s3cret"', "[0]: expected key or key_env, not both"),
            ('name = "x"\nkey = ""', "[0].key: expected a key that is not empty"),
            ('name = "x"\nkey = 5', "[0].key: expected a key that is not empty"),
            ('key = "s3cret"', "[0].name: missing"),
            ('key = "s3cret"\nname = "my key"', "[0].name: expected a name of letters, digits and . _ -"),
            (
                'key = "s3cret"\nname = "x"\nscopes = []',
                "[0].scopes: expected a list with one or more of ingest, query",
            ),
            ('key = "s3cret"\nname = "x"\nscopes = "query"', "[0].scopes: expected a list with one or more of"),
            ('key = "s3cret"\nname = "x"\nscopes = ["write"]', "[0].scopes: expected a list with one or more of"),
            ('key = "s3cret"\nname = "x"\nscopes = [["query"]]', "[0].scopes: expected a list with one or more of"),
            ('key = "s3cret"\nname = "x"\napps = []', '[0].apps: expected a list of appIds, such as ["shop"]'),
            ('key = "s3cret"\nname = "x"\napps = [1]', '[0].apps: expected a list of appIds, such as ["shop"]'),
            ('key = "s3cret"\nname = "x"\norigins = ["null"]', "[0].origins: expected origins that say where they are"),
            ('key = "s3cret"\nname = "x"\norigins = []', "[0].origins: expected origins"),
            ('key = "s3cret"\nname = "x"\nrate = 0', "[0].rate: expected a number greater than 0"),
            ('key = "s3cret"\nname = "x"\nport = 1', "[0]: no such member as port; the members are name, scopes, "),
        ],
    )
    def test_wrong(self, file: Path, table: str, told: str) -> None:
        """What is wrong in a table is told with its place and what would be right, and never with the key (SEC-1)."""
        file.write_text(f"[[keys]]\n{table}", "utf-8")
        said = refusal({}, OFFICE, file).removeprefix(str(file))
        assert said.startswith(f": keys{told}")
        assert "s3cret" not in said
        assert "0ffice" not in said

    @pytest.mark.parametrize("value", ['"s3cret"', '["s3cret"]', "5", '{key = "s3cret"}'])
    def test_no_tables(self, file: Path, value: str) -> None:
        """Keys that are no tables are refused, without what stands there."""
        file.write_text(f"keys = {value}", "utf-8")
        said = refusal({}, {}, file).removeprefix(str(file))
        assert said.startswith((": keys", ": expected TOML"))
        assert "expected" in said
        assert "s3cret" not in said

    def test_several_faults(self, file: Path) -> None:
        """Every fault of every table is told at once, a line for each."""
        file.write_text('[[keys]]\nkey = ""\nname = ""\n[[keys]]\nname = "x"\n[[keys]]\nkey = "s3cret"', "utf-8")
        lines = sorted(line.partition("keys")[2].partition(": ")[0] for line in refusal({}, {}, file).splitlines())
        assert lines == ["[0].key", "[0].name", "[1]", "[2].name"]

    @pytest.mark.parametrize(
        ("keys", "told"),
        [
            ([("x", "1"), ("y", "2"), ("x", "3")], "keys[2].name: the same as that of [0]; expected another"),
            ([("x", "1"), ("y", "s3cret"), ("z", "s3cret")], "keys[2].key: the same as that of [1]; expected another"),
        ],
    )
    def test_twice(self, file: Path, keys: list[tuple[str, str]], told: str) -> None:
        """Neither a name nor a key can stand there twice: which of them would count?"""
        file.write_text("".join(f'[[keys]]\nname = "{name}"\nkey = "{key}"\n' for name, key in keys), "utf-8")
        assert refusal({}, {}, file) == f"{file}: {told}"

    def test_the_short_way_to_the_same_key(self, file: Path) -> None:
        """A key for pages that is set as ``api_key`` as well would open everything, and is refused (SEC-1)."""
        file.write_text(TABLES, "utf-8")
        said = refusal({}, OFFICE | {"TRACKER_API_KEY": "p4ge"}, file)
        assert said == "TRACKER_API_KEY: the same as the key of keys[0]; expected another, or none"

    def test_the_name_of_the_short_way(self, file: Path) -> None:
        """No other key has the name that ``api_key`` has in logs."""
        file.write_text('[[keys]]\nname = "api-key"\nkey = "p4ge"', "utf-8")
        said = refusal({"api_key": "s3cret"}, {}, file)
        assert said == f"{file}: keys[0].name: expected another, for this is what api_key is called"
        assert load_settings({}, {}, file).keys[0].name == "api-key"


# Lone surrogates are what the environment makes of bytes that are not UTF-8.
ANY_TEXT = st.text(st.characters(exclude_categories=()))
ANY_TEXTS = st.dictionaries(st.sampled_from(NAMES), ANY_TEXT | st.integers().map(str) | st.floats().map(str))
FINITE = st.floats(allow_nan=False, allow_infinity=False)
ANY_VALUES = st.dictionaries(st.sampled_from(NAMES), st.text() | st.integers() | FINITE)


def outcome(flags: dict[str, str], environment: dict[str, str], file: Path | None = None) -> str | None:
    """What is said of the settings, or None where they are right; any other exception passes through."""
    try:
        assert isinstance(load_settings(flags, environment, file), Settings)
    except ConfigurationError as refused:
        return str(refused)
    return None


class TestMistyped:
    def test_flag(self) -> None:
        """An option that does not exist is refused, with the one that may have been meant."""
        assert outcome({"prot": "1"}, {}) == "--prot: no such option; did you mean --port?"

    def test_variables(self) -> None:
        """Variables that look like an option are told; other programs may use the prefix as well."""
        environment = {"TRACKER_PORT": "1", "TRACKER_PROT": "1", "TRACKER_HOME": "/", "TRACKER_CONFIG": "x", "PROT": ""}
        assert mistyped_variables(environment) == ["TRACKER_PROT is no option; did you mean TRACKER_PORT?"]


class TestAnything:
    @given(flags=ANY_TEXTS, variables=ANY_TEXTS)
    def test_text(self, flags: dict[str, str], variables: dict[str, str]) -> None:
        """Whatever is typed or set makes settings, or a refusal that begins with an option that was given."""
        environment = {variable(name): text for name, text in variables.items()}
        told = outcome(flags, environment)
        assert told is None or told.partition(": ")[0] in {*map(flag, flags), *environment}

    @given(values=ANY_VALUES)
    def test_values_of_a_file(self, scratch: Path, values: dict[str, Any]) -> None:
        """Whatever values a file has, they make settings, or a refusal that begins with the file."""
        lines = (f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items())
        scratch.write_bytes("".join(lines).encode())
        told = outcome({}, {}, scratch)
        assert told is None or told.startswith(f"{scratch}: ")

    @given(content=st.binary() | st.text().map(str.encode))
    def test_content_of_a_file(self, scratch: Path, content: bytes) -> None:
        """Whatever bytes a file has, they make settings, or a refusal that begins with the file."""
        scratch.write_bytes(content)
        told = outcome({}, {}, scratch)
        assert told is None or told.startswith(f"{scratch}: ")
