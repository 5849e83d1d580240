"""Hooks: events get the team that owns their app, health checks are dropped, and keys are looked up by the program.

::

    python examples/add_a_field.py [PORT]
"""

import sys
from typing import Any

import trio

from wsproto_tracker import Caller, Grant, Hooks, Scope, Settings, TrackerError, open_tracker

TEAMS = {"shop": "checkout", "blog": "content"}


async def on_event(event: dict[str, Any], caller: Caller) -> dict[str, Any] | None:
    if event["type"] == "http" and event["payload"].get("url") == "/health":
        return None  # not stored; the sender finds it among the rejected
    context = {**event.get("context", {}), "team": TEAMS.get(event["appId"], "nobody"), "key": caller.name}
    return {**event, "context": context}


async def authorise(key: str | None, _caller: Caller) -> Grant | None:
    match key:  # a program would ask its database here, and may await
        case "page-key":
            return Grant(name="page", scopes=frozenset({Scope.INGEST}), apps=frozenset(TEAMS))
        case "office-key":
            return Grant(name="office", scopes=frozenset({Scope.QUERY}))
        case _:
            return None


async def main(port: int) -> None:
    settings = Settings(port=port, store="memory:")
    async with open_tracker(settings, hooks=Hooks(on_event=on_event, authorise=authorise)) as tracker:
        print(f"wsEndpoint: ws://{tracker.addresses[0]}{settings.base_path}/ws", flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    try:
        trio.run(main, int(sys.argv[1]) if sys.argv[1:] else 4242)
    except* (TrackerError, ValueError, OSError) as group:
        problem: BaseException = group
        while isinstance(problem, BaseExceptionGroup):
            problem = problem.exceptions[0]
        sys.exit(f"{sys.argv[0]}: {problem}")
    except* KeyboardInterrupt:
        pass
