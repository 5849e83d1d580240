"""The settings: where they come from, what beats what, and what a wrong one is told."""

import json
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproto_tracker import ConfigurationError, Settings, load_settings
from wsproto_tracker.settings import PUSH_MODES, flag, mistyped_variables, options

EXAMPLES: dict[str, Any] = {
    "host": "::1",
    "port": 8080,
    "base_path": "/a/b-c",
    "store": "sqlite:/var/lib/tracker.db",
    "durability": "normal",
    "api_key": "s3cret",
    "max_events": 7,
    "max_age": timedelta(hours=36),
    "max_bytes": 1048576,
    "push": "off",
    "max_frame_bytes": 2048,
    "max_head_bytes": 4096,
    "max_pending_replies": 1,
    "max_uncommitted_bytes": 1024,
    "max_push_bytes": 1024,
    "head_timeout_s": 0.5,
    "idle_timeout_s": 1.5,
    "receive_timeout_s": 2.5,
    "send_timeout_s": 3.5,
    "answer_timeout_s": 90.5,
    "ping_interval_s": 4.5,
    "ping_timeout_s": 5.5,
    "drain_timeout_s": 6.5,
}
TEXTS = {name: str(value) for name, value in EXAMPLES.items()} | {"max_age": "36h"}
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
SOME_SECONDS = "expected a number of seconds greater than 0"

WRONG_TEXT = [
    *[("port", text, PORT) for text in ("abc", "70000", "65536", "-1", "", "1.5", "1e3", "0x10", "٤", HUGE)],
    *[("host", text, HOST) for text in ("my host", "", "localhost ", "a/b", "http://localhost", "a\n")],
    *[("base_path", text, BASE_PATH) for text in ("tracker", "/a b", "/a?b=c", "/a#b", "/a//b", "/ä", "/%20", "/a\n")],
    *[
        ("store", text, STORE)
        for text in ("sqlite:", "sqlite::memory:", "sqlite", "memory", "memory:x", "postgres:x", "a\0b", "")
    ],
    *[("durability", text, "expected one of full, normal") for text in ("FULL", "off", "")],
    *[("max_age", text, AGE) for text in ("30", "0d", "0s", "-1d", "1w", "1.5h", "30 d", "9999999d", "")],
    *[("max_bytes", text, "expected a whole number from 1048576") for text in ("1048575", "10GB", "")],
    ("api_key", "", API_KEY),
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
        assert load_settings({name: TEXTS[name]}, {}) == Settings(**{name: EXAMPLES[name]})

    @pytest.mark.parametrize("name", NAMES)
    def test_environment(self, name: str) -> None:
        """Every option is read from its variable."""
        assert load_settings({}, {variable(name): TEXTS[name]}) == Settings(**{name: EXAMPLES[name]})

    def test_file(self, file: Path) -> None:
        """Every option is read from TOML."""
        values = EXAMPLES | {"max_age": TEXTS["max_age"]}
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
            ("zzz", f"the options are {', '.join(NAMES)}"),
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
