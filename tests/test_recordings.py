"""Recordings of the real plugin, replayed message by message: its page and its dashboard get what they need."""

import json
from datetime import datetime, timedelta
from typing import Any

import trio

from tests.support import Client, Running, recording

COUNT = 196


def sent_events(texts: list[str]) -> list[dict[str, Any]]:
    return [event for text in texts for event in json.loads(text)["events"]]


def check_events(found: list[dict[str, Any]], sent: list[dict[str, Any]]) -> None:
    """What came back is what was sent, newest first, with ids that the dashboard can work with."""
    assert len(sent) == COUNT
    by_age = sorted(
        enumerate(sent), key=lambda pair: (datetime.fromisoformat(pair[1]["timestamp"]), pair[0]), reverse=True
    )
    assert [event | {"id": ""} for event in found] == [event for _, event in by_age]
    ids = [event["id"] for event in found]
    assert all(isinstance(name, str) and name for name in ids)
    assert len(set(ids)) == COUNT


def since(query_text: str) -> str:
    """A day before the ``until`` of a query, as the dashboard asks."""
    until = datetime.fromisoformat(json.loads(query_text)["query"]["until"])
    return (until - timedelta(days=1)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def test_websocket_with_key(locked: Running) -> None:
    """Page and dashboard get the answers they need (AUTH-1, AUTH-4, ACK-1, QUERY-1, EVENT-8)."""
    lines = [line for line in recording("plugin-2.1.0-websocket-key.jsonl") if line.get("dir") == "in"]
    handshakes = {line["conn"]: line for line in lines if line["kind"] == "ws-handshake"}
    texts = {
        conn: [line["text"] for line in lines if line["kind"] == "ws" and line["conn"] == conn] for conn in handshakes
    }
    page, dashboard = texts[1], texts[2]
    assert handshakes[1]["path"] == "/_tracker/ws"

    async with locked.client(origin=handshakes[1]["headers"]["origin"]) as client:
        assert await client.ask(page[0]) == {"type": "auth_ok"}
        for frame in page[1:]:
            assert await client.ask(frame) == {"type": "ack", "saved": len(json.loads(frame)["events"])}
        await client.websocket.aclose(1001)

    async with locked.client(origin=handshakes[2]["headers"]["origin"]) as client:
        await client.send(*dashboard)  # auth, and the query right behind it
        assert await client.receive() == {"type": "auth_ok"}
        answer = await client.receive()
        asked = json.loads(dashboard[1])
        assert asked["query"]["since"] == since(dashboard[1])
        assert (answer["type"], answer["reqId"]) == ("events:response", asked["reqId"])
        response = answer["response"]
        check_events(response["events"], sent_events(page[1:]))
        assert {name: response[name] for name in ("total", "page", "limit")} == {
            "total": COUNT,
            "page": 1,
            "limit": COUNT,
        }
        assert response["nextCursor"] == response["events"][0]["timestamp"]

    for line in lines:
        if line["kind"] == "http":
            await replay(locked, line)


async def test_http_with_key(locked: Running) -> None:
    """Every request gets the answer that it needs, preflights first (HTTP-1, HTTP-10, CORS-1 to CORS-3)."""
    lines = recording("plugin-2.1.0-http-key.jsonl")
    sent = sent_events([line["body"] for line in lines if line["method"] == "POST"])
    for line in lines:
        response = await replay(locked, line)
        if line["method"] == "GET" and "since=" in line["path"]:
            check_events(response["events"], sent)
            assert response["total"] == COUNT


async def test_everything_on_one_connection(locked: Running) -> None:
    """The same frames without waiting: the acks come in order, the answer has everything (ACK-2)."""
    lines = [
        line for line in recording("plugin-2.1.0-websocket-key.jsonl") if line.get("dir") == "in" and "text" in line
    ]
    frames = [line["text"] for line in lines]
    async with locked.client() as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.send, *frames)
        kinds = await receive_all(client, len(frames))
    expected = [
        "auth_ok",
        *[len(json.loads(frame)["events"]) for frame in frames if "ingest" in frame[:20]],
        "auth_ok",
        COUNT,
    ]
    assert kinds == expected


async def receive_all(client: Client, count: int) -> list[object]:
    answers = [await client.receive() for _ in range(count)]
    return [
        answer.get("saved", answer["response"]["total"] if "response" in answer else answer["type"])
        for answer in answers
    ]


async def replay(server: Running, line: dict[str, Any]) -> Any:
    """Send a recorded request with its own headers; the answer has to be one that the browser lets the page see."""
    headers = {name: value for name, value in line["headers"].items() if name not in ("host", "connection")}
    response = await server.http(line["method"], "/" + line["path"], line["body"].encode(), headers)
    assert response.status == line["status"]
    assert response.headers["access-control-allow-origin"] == headers["origin"]
    assert response.headers["access-control-allow-credentials"] == "true"
    if line["method"] == "OPTIONS":
        assert headers["access-control-request-method"] in response.headers["access-control-allow-methods"]
        allowed = response.headers["access-control-allow-headers"].split(", ")
        assert set(headers["access-control-request-headers"].split(",")) <= set(allowed)
        return None
    if line["method"] == "POST":
        assert response.json() == {"type": "ack", "saved": len(json.loads(line["body"])["events"])}
    return response.json()
