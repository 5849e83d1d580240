"""Events as pages send them: types, sizes and text after recordings of the plugin, no two alike."""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

__all__ = ["START", "TYPES", "made_up"]

START = datetime(2026, 11, 1, tzinfo=UTC)
SPACING = timedelta(milliseconds=40)

TYPES = {"click": 101, "http": 24, "session": 18, "navigation": 17, "custom": 16, "console": 12, "error": 8}
"""How often each type is in a recorded session."""

_WORDS = Path(__file__).with_name("words.txt").read_text("utf-8").split()
_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.1 Safari/605",
    "Mozilla/5.0 (X11; Linux x86_64; rv:148.0) Gecko/20100101 Firefox/148.0",
)
_LANGUAGES = ("en-US", "de-DE", "fr-FR", "ja-JP")
_VIEWPORTS = ("800x600", "1280x720", "1536x864", "1920x1080", "390x844")
_ERRORS = ("TypeError", "ReferenceError", "RangeError", "NetworkError")


class _Visitor:
    """One page in somebody's browser."""

    def __init__(self, chance: random.Random) -> None:
        self.session = f"sess_{_uuid(chance)}"
        self.user = chance.choice([f"user-{chance.randrange(5000)}", f"anon_{_uuid(chance)}"])
        self.meta = {
            "userAgent": chance.choice(_AGENTS),
            "route": "/",
            "viewport": chance.choice(_VIEWPORTS),
            "language": chance.choice(_LANGUAGES),
            "buildVersion": "1.2.3",
        }
        if chance.random() < 0.6:
            self.meta["userAttributes"] = {"plan": chance.choice(["free", "pro"]), "n": chance.randrange(100)}  # type: ignore[assignment]


def made_up(count: int, *, seed: int = 1, app: str = "shop") -> Iterator[bytes]:
    """Events as JSON texts in UTF-8, about in the order of their timestamps; the same for the same seed."""
    chance = random.Random(seed)
    visitors = [_Visitor(chance) for _ in range(40)]
    types = chance.choices(list(TYPES), list(TYPES.values()), k=count)
    for number, type_ in enumerate(types):
        if chance.random() < 0.02:
            visitors[chance.randrange(len(visitors))] = _Visitor(chance)
        visitor = chance.choice(visitors)
        payload = _payload(type_, visitor, chance)
        moment = START + number * SPACING - chance.random() * timedelta(seconds=1)
        event = {
            "id": "",
            "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": "error" if type_ == "error" else chance.choice(["info", "info", "info", "debug", "warn"]),
            "type": type_,
            "appId": app,
            "sessionId": visitor.session,
            "userId": visitor.user,
            "payload": payload,
            "meta": visitor.meta,
        }
        yield json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def _payload(type_: str, visitor: _Visitor, chance: random.Random) -> dict[str, Any]:
    match type_:
        case "click":
            path = f"div[{chance.randrange(9)}]/main/section[{chance.randrange(9)}]/button[{chance.randrange(30)}]"
            return {
                "tag": chance.choice(["button", "a", "div", "span", "input"]),
                "text": _words(chance, 1, 4),
                "id": f"{chance.choice(_WORDS)}-{chance.randrange(1000)}",
                "xpath": f"/html/body/{path}",
                "coordinates": {"x": chance.randrange(1920), "y": chance.randrange(1080)},
            }
        case "http":
            return {
                "method": chance.choice(["GET", "GET", "POST", "PUT"]),
                "url": f"https://api.shop.example/v2/{chance.choice(_WORDS)}/{chance.randrange(10**6)}?page={chance.randrange(50)}",
                "status": chance.choice([200, 200, 200, 201, 204, 304, 404, 500]),
                "duration": round(chance.lognormvariate(4, 1), 1),
                "requestSize": chance.randrange(2000),
                "responseSize": chance.randrange(100_000),
            }
        case "session":
            return {"action": chance.choice(["start", "end"]), "trigger": chance.choice(["init", "unload"])}
        case "navigation":
            before, visitor.meta["route"] = visitor.meta["route"], f"/{chance.choice(_WORDS)}/{chance.randrange(5000)}"
            return {
                "from": before,
                "to": visitor.meta["route"],
                "trigger": "pushState",
                "duration": chance.randrange(80),
            }
        case "custom":
            data = {"sku": f"{chance.randrange(16**8):08x}", "price": chance.randrange(1, 100_000) / 100}
            return {"name": f"shop:{chance.choice(_WORDS)}", "data": data | {"items": chance.randrange(1, 9)}}
        case "console":
            message = _words(chance, 3, 15)
            arguments = [{"type": "string", "value": message}, {"type": "number", "value": chance.randrange(1000)}]
            return {"method": chance.choice(["log", "warn"]), "message": message, "args": arguments, "groupDepth": 0}
        case _:
            name, line = chance.choice(_ERRORS), chance.randrange(1, 9000)
            message = f"{name}: cannot {_words(chance, 2, 6)}"
            frames = "".join(
                f"\n    at {chance.choice(_WORDS)} (https://shop.example/assets/index-{chance.randrange(16**8):08x}.js:{line}:{n})"
                for n in range(1, chance.randrange(3, 9))
            )
            return {"message": message, "errorType": name, "stack": message + frames, "lineno": line, "colno": 7}


def _words(chance: random.Random, least: int, most: int) -> str:
    return " ".join(chance.choices(_WORDS, k=chance.randint(least, most)))


def _uuid(chance: random.Random) -> str:
    digits = f"{chance.getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
