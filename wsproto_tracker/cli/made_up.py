"""Made-up traffic: visitors of a shop that does not exist, whose events look like the plugin's."""

import random
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

__all__ = ["APP", "TYPES", "Traffic"]

APP = "demo-shop"

TYPES = {"click": 50, "http": 20, "navigation": 10, "custom": 9, "console": 7, "error": 2}
"""How often each type is, about; sessions begin and end with their visitors."""

_USERS = ("ann", "ben", "carla", "dmitri", "eva", "farid", "grace", "hiro", "ines", "jonas")
_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.1 Safari/605",
    "Mozilla/5.0 (X11; Linux x86_64; rv:148.0) Gecko/20100101 Firefox/148.0",
)
_ROUTES = ("/", "/search", "/shoes", "/shoes/17", "/hats", "/hats/4", "/cart", "/checkout", "/account", "/help")
_BUTTONS = ("Add to cart", "Buy now", "Search", "Next", "Back", "Show more", "Zoom in", "Größe 42", "お気に入り")
_ENDPOINTS = (("GET", "/api/products"), ("GET", "/api/cart"), ("POST", "/api/cart"), ("POST", "/api/checkout"))
_STATUSES = (200, 200, 200, 200, 200, 201, 204, 304, 404)
_ACTIONS = ("cart:add", "cart:remove", "search", "coupon:applied", "video:played", "checkout:started")
_MESSAGES = ("cart restored", "image is late", "retrying the request", "deprecated option used", "saved")
_ERRORS = (
    ("TypeError", "Cannot read properties of undefined (reading 'price')"),
    ("ReferenceError", "gtag is not defined"),
    ("RangeError", "Maximum call stack size exceeded"),
    ("NetworkError", "Failed to fetch"),
)
_STAYS = 0.97  # how likely it is, with each event, that a visitor does
_LOADED_MS = 400

_Payload = dict[str, Any]


class _Visitor:
    """One page in somebody's browser."""

    def __init__(self, chance: random.Random) -> None:
        self.session = f"sess_{_uuid(chance)}"
        self.user = chance.choice(_USERS) if chance.random() < 0.7 else f"anon_{_uuid(chance)}"
        self.meta: dict[str, Any] = {
            "userAgent": chance.choice(_AGENTS),
            "route": chance.choice(_ROUTES[:5]),
            "viewport": chance.choice(("800x600", "1280x720", "1920x1080", "390x844")),
            "language": chance.choice(("en-US", "de-DE", "fr-FR", "ja-JP")),
            "buildVersion": "1.2.3",
        }
        if not self.user.startswith("anon_"):
            self.meta["userAttributes"] = {"plan": chance.choice(("free", "pro"))}
        load = {"from": self.meta["route"], "to": self.meta["route"], "trigger": "load"}
        self.next = deque(
            [
                ("session", "info", {"action": "start", "trigger": "init"}),
                ("navigation", "info", load | {"duration": chance.randrange(_LOADED_MS)}),
            ]
        )


class Traffic:
    """An endless number of events.

    :param seed: what it depends on; without one, no two runs are alike.
    :param visitors: how many pages are open at a time.
    """

    def __init__(self, seed: int | None = None, visitors: int = 8) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - it makes things up
        self._visitors = [_Visitor(self._chance) for _ in range(visitors)]
        self._makers: dict[str, Callable[[_Visitor], tuple[str, _Payload]]] = {
            "click": self._click,
            "http": self._http,
            "navigation": self._navigation,
            "custom": self._custom,
            "console": self._console,
            "error": self._error,
        }

    def event(self, moment: datetime) -> dict[str, Any]:
        """What one of the visitors does."""
        number = self._chance.randrange(len(self._visitors))
        visitor = self._visitors[number]
        if visitor.next:
            return _event(visitor, moment, *visitor.next.popleft())
        if self._chance.random() > _STAYS:
            self._visitors[number] = _Visitor(self._chance)
            return _event(visitor, moment, "session", "info", {"action": "end", "trigger": "unload"})
        (type_,) = self._chance.choices(list(TYPES), list(TYPES.values()))
        level, payload = self._makers[type_](visitor)
        return _event(visitor, moment, type_, level, payload)

    def trouble(self, moment: datetime) -> list[dict[str, Any]]:
        """The shop's backend fails for one of the visitors, and the page with it."""
        visitor = self._chance.choice(self._visitors)
        _, payload = self._http(visitor)
        failed = payload | {"status": 503, "duration": self._chance.randrange(2000, 9000)}
        later = moment + timedelta(milliseconds=2)
        level, error = self._error(visitor)
        return [_event(visitor, moment, "http", "error", failed), _event(visitor, later, "error", level, error)]

    # --- payloads by type, with the level that the plugin gives them

    def _click(self, _visitor: _Visitor) -> tuple[str, _Payload]:
        text, place = self._chance.choice(_BUTTONS), self._chance.randrange(1, 30)
        return "info", {
            "tag": self._chance.choice(("button", "button", "a", "div")),
            "text": text,
            "id": f"b-{place}",
            "classes": "btn plain",
            "xpath": f"/html/body/div/main/section[{self._chance.randrange(1, 9)}]/button[{place}]",
            "coordinates": {"x": self._chance.randrange(1920), "y": self._chance.randrange(1080)},
        }

    def _http(self, _visitor: _Visitor) -> tuple[str, _Payload]:
        method, url = self._chance.choice(_ENDPOINTS)
        status = self._chance.choice(_STATUSES)
        return "warn" if status >= 400 else "info", {
            "method": method,
            "url": f"https://api.shop.example{url}?page={self._chance.randrange(1, 50)}",
            "status": status,
            "duration": round(self._chance.lognormvariate(4, 0.8)),
            "requestSize": self._chance.randrange(2000),
            "responseSize": self._chance.randrange(100_000),
        }

    def _navigation(self, visitor: _Visitor) -> tuple[str, _Payload]:
        before, after = visitor.meta["route"], self._chance.choice(_ROUTES)
        visitor.meta["route"] = after
        trigger = self._chance.choice(("pushState", "pushState", "pushState", "popstate"))
        return "info", {"from": before, "to": after, "trigger": trigger, "duration": self._chance.randrange(80)}

    def _custom(self, _visitor: _Visitor) -> tuple[str, _Payload]:
        data = {"sku": f"{self._chance.randrange(16**6):06x}", "price": self._chance.randrange(1, 20_000) / 100}
        payload: _Payload = {"name": self._chance.choice(_ACTIONS), "data": data | {"items": self._chance.randrange(9)}}
        if self._chance.random() < 0.3:
            payload["duration"] = self._chance.randrange(900)
        return self._chance.choice(("info", "info", "debug")), payload

    def _console(self, _visitor: _Visitor) -> tuple[str, _Payload]:
        method, message = self._chance.choice(("log", "log", "warn")), self._chance.choice(_MESSAGES)
        count = self._chance.randrange(100)
        arguments = [{"type": "string", "value": message}, {"type": "number", "value": count}]
        payload: _Payload = {"method": method, "message": f"{message} {count}", "args": arguments, "groupDepth": 0}
        return "warn" if method == "warn" else "info", payload

    def _error(self, _visitor: _Visitor) -> tuple[str, _Payload]:
        name, what = self._chance.choice(_ERRORS)
        script = "https://shop.example/assets/index-CVenDkg1.js"
        line, column = self._chance.randrange(1, 900), self._chance.randrange(1, 20_000)
        stack = f"{name}: {what}\n    at render ({script}:{line}:{column})\n    at update ({script}:{line + 40}:12)"
        payload: _Payload = {"message": f"Uncaught {name}: {what}", "errorType": name, "stack": stack}
        return "error", payload | {"filename": script, "lineno": line, "colno": column}


def _event(visitor: _Visitor, moment: datetime, type_: str, level: str, payload: _Payload) -> dict[str, Any]:
    return {
        "id": "",
        "timestamp": moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": level,
        "type": type_,
        "appId": APP,
        "sessionId": visitor.session,
        "userId": visitor.user,
        "payload": payload,
        "meta": dict(visitor.meta),
    }


def _uuid(chance: random.Random) -> str:
    digits = f"{chance.getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
