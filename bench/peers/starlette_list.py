"""The backend that most would write in Python: Starlette on uvicorn, events in a list, the ``json`` module."""

import json
import socket
import sys
from datetime import datetime
from typing import Any
from uuid import uuid4

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

EVENTS: list[dict[str, Any]] = []


def find(since: str | None = None, until: str | None = None) -> dict[str, Any]:
    """Every event of a window, newest first."""
    first = datetime.fromisoformat(since) if since else None
    last = datetime.fromisoformat(until) if until else None
    found = [
        event
        for event in EVENTS
        if (first is None or datetime.fromisoformat(event["timestamp"]) >= first)
        and (last is None or datetime.fromisoformat(event["timestamp"]) <= last)
    ]
    found.sort(key=lambda event: event["timestamp"], reverse=True)
    return {"events": found, "total": len(found)}


async def converse(websocket: WebSocket) -> None:
    """One connection."""
    await websocket.accept()
    try:
        while True:
            frame = json.loads(await websocket.receive_text())
            if frame["type"] == "ingest":
                for event in frame["events"]:
                    event["id"] = event["id"] or str(uuid4())
                    EVENTS.append(event)
                await websocket.send_text(json.dumps({"type": "ack", "saved": len(frame["events"])}))
            elif frame["type"] == "events:query":
                answer = {"type": "events:response", "reqId": frame["reqId"], "response": find(**frame["query"])}
                await websocket.send_text(json.dumps(answer))
    except WebSocketDisconnect:
        return


async def read(request: Request) -> Response:
    """A read over HTTP."""
    return Response(json.dumps(find(**request.query_params)), media_type="application/json")


app = Starlette(routes=[Route("/_tracker", read), WebSocketRoute("/_tracker/ws", converse)])
listener = socket.create_server(("127.0.0.1", 0))
sys.stdout.write(f"ready at http://127.0.0.1:{listener.getsockname()[1]}/_tracker\n")
sys.stdout.flush()
config = uvicorn.Config(app, log_level="error", ws="websockets-sansio", ws_max_size=2**30)
uvicorn.Server(config).run(sockets=[listener])
