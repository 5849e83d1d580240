"""The server over real WebSocket connections: what a page, a dashboard and a careless stranger see."""

import json
import os
import struct
import threading
from collections.abc import Sequence
from typing import Any

import pytest
import trio
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.trio.client import connect

import wsproto_tracker.server.app
import wsproto_tracker.server.tracker
import wsproto_tracker.server.websocket
from tests.raw_websocket import masked, raw_websocket
from tests.support import Client, Running, event, ingest, opening, query, running
from wsproto_tracker.access import Key, Scope
from wsproto_tracker.protocol import decoding, events
from wsproto_tracker.protocol.events import Event
from wsproto_tracker.protocol.session import Action, Session, req_id_of
from wsproto_tracker.store import MemoryStore, Receipt


async def closed_with(client: Client) -> int | None:
    """The code with which the server closes, whatever it sends before."""
    with pytest.raises(ConnectionClosed), trio.fail_after(20):
        while True:
            await client.websocket.recv()
    return client.websocket.close_code


async def still_serves(running_server: Running) -> None:
    """A new client can ingest and query."""
    async with running_server.client() as client:
        assert (await client.ask(ingest(event())))["type"] == "ack"
        assert await client.events(limit=1)


class TestConnection:
    async def test_handshake(self, server: Running) -> None:
        """A handshake with an Origin, without subprotocol and key, succeeds (CONN-1, CONN-2)."""
        async with server.client(origin="http://localhost:5173") as client:
            assert await client.ask({"type": "ping"}) == {"type": "pong"}

    async def test_deflate(self, server: Running) -> None:
        """permessage-deflate is agreed to, and messages pass with it and without it (CONN-3, CONN-4)."""
        for compression in ("deflate", None):
            async with server.client(compression=compression) as client:
                response = client.websocket.response
                assert response is not None
                agreed = response.headers.get("Sec-WebSocket-Extensions", "")
                assert agreed.startswith("permessage-deflate") == (compression is not None)
                assert (await client.ask(ingest(*[event()] * 50)))["saved"] == 50
                assert len(await client.events(limit=50)) == 50

    async def test_uncompressed_message_on_a_deflate_connection(self, server: Running) -> None:
        """A client may leave single messages uncompressed though deflate is agreed to (CONN-4)."""
        async with raw_websocket(server, extensions="permessage-deflate") as peer:
            await peer.send_frame(0x1, ingest(event()).encode())
            assert (await peer.receive_frame())[1] == b'{"type":"ack","saved":1}'
            await peer.send_frame(0x1, query().encode())
            assert (await peer.receive_frame())[0] & 0x40, "the answer is compressed"

    async def test_small_window(self, server: Running) -> None:
        """A client that asks for a smaller window gets it (CONN-3)."""
        small = ClientPerMessageDeflateFactory(server_max_window_bits=9, client_max_window_bits=9)
        async with server.client(extensions=[small]) as client:
            await client.ask(ingest(*[event(userId=str(number)) for number in range(300)]))
            assert len(await client.events()) == 300

    async def test_fragments(self, server: Running) -> None:
        """A message in fragments, with pings between them, is one frame (CONN-5)."""
        async with raw_websocket(server) as peer:
            text = ingest(event(userId="Größe")).encode()
            await peer.send_frame(0x1, text[:10], fin=False)
            for start in range(10, len(text), 7):
                await peer.send_frame(0x9, b"between")
                await peer.send_frame(0x0, text[start : start + 7], fin=start + 7 >= len(text))
            answers = [await peer.receive_frame()]
            while answers[-1][0] & 0x0F != 0x1:
                answers.append(await peer.receive_frame())
            assert json.loads(answers[-1][1]) == {"type": "ack", "saved": 1}
            assert answers[0] == (0x8A, b"between")

    async def test_order(self, server: Running) -> None:
        """Frames that are sent without waiting are answered one after the other (CONN-6, ACK-2, QUERY-10)."""
        async with server.client() as client:
            expected: list[tuple[str, object]] = []
            for number in range(30):
                await client.send(ingest(*[event()] * (number % 4)), query(str(number), limit=0), {"type": "ping"})
                expected += [("ack", number % 4), ("events:response", str(number)), ("pong", None)]
            got = []
            for _ in expected:
                answer = await client.receive()
                got.append((answer["type"], answer.get("saved", answer.get("reqId"))))
            assert got == expected

    async def test_others_go_on(self, server: Running) -> None:
        """One client that misbehaves, falls silent or vanishes disturbs no other (CONN-7)."""
        async with server.client() as bystander, server.client() as silent:
            for misdeed in ('{"type":', b"\x00", "[]"):
                async with server.client() as rude:
                    await rude.send(misdeed)
            vanishing = await server.connect()
            await vanishing.send_all(b"GET /_tracker/ws HTTP/1.1\r\n")
            await vanishing.aclose()
            assert (await bystander.ask(ingest(event())))["saved"] == 1
            assert await silent.ask({"type": "ping"}) == {"type": "pong"}

    async def test_old_http(self, server: Running) -> None:
        """A handshake in HTTP/1.0 is none (CONN-8)."""
        received = await server.raw(
            b"GET /_tracker/ws HTTP/1.0\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert received.startswith(b"HTTP/1.1 426 ")

    @pytest.mark.parametrize(
        ("path", "version", "status"),
        [("/_tracker/ws", "12", 426), ("/_tracker/ws", "", 426), ("/_tracker", "13", 200), ("/nowhere", "13", 404)],
    )
    async def test_wrong_handshakes(self, server: Running, path: str, version: str, status: int) -> None:
        """Another version is refused with 426 and the right one, an unknown path with 404 (CONN-8)."""
        headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        response = await server.http("GET", "/" + path, headers=headers | {"Sec-WebSocket-Version": version})
        assert response.status == status
        if status == 426:
            assert response.headers["sec-websocket-version"] == "13"
            assert response.json()["code"] == "upgrade_required"

    async def test_handshake_without_key_header(self, server: Running) -> None:
        """A handshake that is broken otherwise is refused with 400."""
        received = await server.raw(
            b"GET /_tracker/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\n\r\n"
        )
        assert received.startswith(b"HTTP/1.1 400 ")
        assert b"Sec-WebSocket-Key" in received

    async def test_first_frame_with_the_handshake(self, server: Running) -> None:
        """Frames that arrive in one packet with the handshake are not lost."""
        async with raw_websocket(server, at_once=masked(0x1, b'{"type":"ping"}')) as peer:
            assert json.loads((await peer.receive_frame())[1]) == {"type": "pong"}

    async def test_a_wrong_frame_with_the_handshake(self, server: Running) -> None:
        """What comes before a wrong frame is saved and what is wrong is told, in one packet with the handshake too.

        ACK-6, FRAME-7.
        """
        at_once = masked(0x1, ingest(event()).encode()) + masked(0x1, b"\xff")
        async with raw_websocket(server, at_once=at_once) as peer:
            frames = [await peer.receive_frame()]
            while frames[-1][0] & 0x0F != 0x8:
                frames.append(await peer.receive_frame())
            assert frames[-1][1][:2] == (1007).to_bytes(2, "big")
        async with server.client() as client:
            with trio.fail_after(20):
                while len(await client.events()) != 1:
                    pass  # its ack can no longer be sent, so nobody knows when it is saved

    async def test_many_cookies(self, server: Running) -> None:
        """The cookies that a browser sends to every server on localhost are no reason to refuse (CONN-1)."""
        async with server.client(
            additional_headers={"Cookie": "; ".join([f"c{n}={'x' * 1000}" for n in range(40)])}
        ) as client:
            assert await client.ask({"type": "ping"}) == {"type": "pong"}

    async def test_base_path(self) -> None:
        """Every endpoint moves with the base path, to the root even."""
        for base_path in ("/tracker", ""):
            async with running(base_path=base_path) as server:
                await still_serves(server)
                assert (await server.http("GET", "/ping")).status == 200
                assert (await server.http("GET", "" if base_path else "/")).json()["total"] == 1
                with pytest.raises(InvalidStatus):
                    async with connect(f"ws://{server.address}/_tracker/ws"):
                        pass


class TestFrames:
    async def test_answers_are_text(self, server: Running) -> None:
        """Every frame from the server is a text message with an object that has a type (FRAME-1)."""
        async with server.client() as client:
            await client.send(ingest(event()), query(), {"type": "ping"}, {"type": "subscribe"}, "{}")
            for _ in range(5):
                message = await client.websocket.recv()
                assert isinstance(message, str)
                assert isinstance(json.loads(message)["type"], str)

    @pytest.mark.parametrize(
        ("message", "code", "req_id"),
        [
            ("", "bad_json", None),
            ("hello", "bad_json", None),
            ('{"type":"ping"', "bad_json", None),
            ('{"type":"ping","x":NaN}', "bad_json", None),
            ("[" * 100_000, "bad_json", None),
            ('{"type":"ping","x":' + "[" * 128 + "]" * 128 + "}", "bad_json", None),
            ("[]", "bad_frame", None),
            ('"ingest"', "bad_frame", None),
            ("null", "bad_frame", None),
            ("{}", "bad_frame", None),
            ('{"type":5,"reqId":"r7"}', "bad_frame", "r7"),
            ('{"type":"events"}', "unknown_type", None),
            ('{"type":"ingest\\n","events":[]}', "unknown_type", None),
            ('{"type":"ack","saved":1,"reqId":"r8"}', "unknown_type", "r8"),
            ('{"type":"ingest"}', "bad_frame", None),
            ('{"type":"ingest","events":{}}', "bad_frame", None),
            ('{"type":"ingest","events":"[]","reqId":"r9"}', "bad_frame", "r9"),
            ('{"type":"auth","key":["s3cret"]}', "bad_frame", None),
            ('{"type":"events:query","query":{}}', "bad_frame", None),
            ('{"type":"events:query","reqId":5,"query":{}}', "bad_frame", None),
            ('{"type":"events:query","reqId":"r1","query":[]}', "bad_frame", "r1"),
            ('{"type":"events:query","reqId":"r2","query":{"since":"yesterday"}}', "bad_query", "r2"),
            ('{"type":"events:query","reqId":"r3","query":{"until":1764000000}}', "bad_query", "r3"),
            ('{"type":"events:query","reqId":"r4","query":{"limit":-1}}', "bad_query", "r4"),
            ('{"type":"events:query","reqId":"r5","query":{"limit":1.5,"page":0}}', "bad_query", "r5"),
            ('{"type":"events:query","reqId":"\\ud83d","query":{"level":"fatal"}}', "bad_query", "\ud83d"),
            (b'{"type":"ping"}', "unsupported", None),
        ],
    )
    async def test_wrong_messages(self, server: Running, message: str | bytes, code: str, req_id: str | None) -> None:
        """What is no frame gets an error with code, message and reqId; the connection goes on, and so do others.

        FRAME-3, FRAME-4, FRAME-6, FRAME-10, ERR-1, ERR-2, ERR-3, QUERY-9, FILTER-8, INGEST-4.
        """
        async with server.client() as client, server.client() as bystander:
            error = await client.ask(message)
            assert error["type"] == "error"
            assert error["code"] == code
            assert error["message"]
            assert error.get("reqId") == req_id
            assert await client.ask(ingest(event())) == {"type": "ack", "saved": 1}
            assert len(await bystander.events()) == 1

    async def test_unknown_members(self, server: Running) -> None:
        """Members that the server does not know change nothing (FRAME-2)."""
        async with server.client() as client:
            assert await client.ask({"type": "ping", "x": [1], "query": 5}) == {"type": "pong"}
            assert await client.ask({"type": "ingest", "events": [], "batch": "b1"}) == {"type": "ack", "saved": 0}
            assert (await client.ask(query(color="red")))["type"] == "events:response"

    async def test_invalid_utf8(self, server: Running) -> None:
        """A text message that is not UTF-8 closes the connection with 1007, and no other (FRAME-7, FRAME-12)."""
        async with raw_websocket(server) as peer:
            await peer.send_frame(0x1, b'{"type":"ping\xff"}')
            opcode, payload = await peer.receive_frame()
            assert (opcode & 0x0F, struct.unpack("!H", payload[:2])[0]) == (0x8, 1007)
        await still_serves(server)

    async def test_lone_surrogates(self, server: Running) -> None:
        """Text that was cut inside an emoji is kept as it is, and its neighbours with it (FRAME-8)."""
        cut = event(payload={"text": "cut \ud83d"}, userId="\ude00")
        async with server.client() as client:
            assert await client.ask(json.dumps({"type": "ingest", "events": [event(), cut]})) == {
                "type": "ack",
                "saved": 2,
            }
            assert [found["payload"] for found in await client.events(userId="\ude00")] == [cut["payload"]]

    async def test_nesting(self, server: Running) -> None:
        """128 levels are accepted, one more rejects that event and keeps its neighbour (FRAME-9, FRAME-10)."""

        def nested(levels: int) -> dict[str, Any]:
            value: Any = {}
            for _ in range(levels - 3 - 1):  # the frame, its array, the event itself; and the innermost object
                value = [value]
            return event(context=..., payload={"deep": value[0]} if levels else {})

        async with server.client() as client:
            assert await client.ask(ingest(nested(128))) == {"type": "ack", "saved": 1}
            ack = await client.ask(ingest(event(), nested(129)))
            assert ack["saved"] == 1
            assert [rejection["index"] for rejection in ack["rejected"]] == [1]

    async def test_too_large(self) -> None:
        """A message over the limit closes with 1009; one of just that size is read (CLOSE-3)."""
        async with running(max_frame_bytes=4096) as server:
            async with server.client() as client:
                assert await client.ask('{"type":"ping"}'.ljust(4096)) == {"type": "pong"}
                await client.send('{"type":"ping"}'.ljust(4097))
                assert await closed_with(client) == 1009
            async with server.client(compression=None) as client:
                await client.send('{"type":"ping"}'.ljust(50_000_000))
                assert await closed_with(client) == 1009
            await still_serves(server)

    async def test_inflated_beyond_the_limit(self) -> None:
        """The limit holds for what a compressed message becomes (CLOSE-3)."""
        async with running(max_frame_bytes=100_000) as server, server.client() as client:
            await client.send('{"type":"ping"}'.ljust(10_000_000))
            assert await closed_with(client) == 1009

    async def test_large_frame(self, server: Running) -> None:
        """All that a client buffered during an outage comes in one frame of just under 16 MiB (LIMIT-1, LIMIT-2)."""
        many = [event(userId=str(number), payload={"text": "x" * 2500}) for number in range(5500)]
        frame = ingest(*many)
        assert 15_000_000 < len(frame) < 16 * 1024 * 1024
        async with server.client() as client:
            assert await client.ask(frame) == {"type": "ack", "saved": 5500}
            assert [found["userId"] for found in await client.events()] == [str(n) for n in reversed(range(5500))]


class TestAuthentication:
    async def test_right_key(self, locked: Running) -> None:
        """The right key is answered with auth_ok, and again when it is shown again (AUTH-1, AUTH-8)."""
        async with locked.client(key="s3cret") as client:
            assert await client.ask({"type": "auth", "key": "s3cret"}) == {"type": "auth_ok"}
            assert (await client.ask(ingest(event())))["saved"] == 1

    async def test_no_key_configured(self, server: Running) -> None:
        """Without a configured key, auth is answered with auth_ok, and not needed (AUTH-2, AUTH-6)."""
        async with server.client() as client:
            for key in ("anything", "", "\ud83d"):
                assert await client.ask({"type": "auth", "key": key}) == {"type": "auth_ok"}
        async with server.client() as client:
            assert (await client.ask(ingest(event())))["saved"] == 1

    @pytest.mark.parametrize("key", [{"key": "guess"}, {"key": ""}, {}, {"key": "s3cret "}, {"key": "s3cre\ud83d"}])
    async def test_wrong_key(self, locked: Running, key: dict[str, str]) -> None:
        """A wrong key, an empty one or none is Unauthorized and 1008, and nothing after it counts (AUTH-3, AUTH-7)."""
        async with locked.client() as client:
            await client.send({"type": "auth", **key}, ingest(event()), {"type": "ping"})
            error = await client.receive()
            assert error == {"type": "error", "code": "unauthorized", "message": "Unauthorized"}
            assert await closed_with(client) == 1008
            assert client.websocket.close_reason == "Unauthorized"
        async with locked.client(key="s3cret") as client:
            assert await client.events() == []

    async def test_pipelined(self, locked: Running) -> None:
        """What follows auth at once is handled after it, in order (AUTH-4)."""
        async with locked.client() as client:
            await client.send({"type": "auth", "key": "s3cret"}, query("q1"), ingest(event()), query("q2"))
            assert await client.receive() == {"type": "auth_ok"}
            answers = [await client.receive() for _ in range(3)]
            assert [answer["type"] for answer in answers] == ["events:response", "ack", "events:response"]
            assert [answers[0]["response"]["total"], answers[2]["response"]["total"]] == [0, 1]

    @pytest.mark.parametrize("frame", [ingest(event()), query(), '{"type":"subscribe"}'])
    async def test_without_auth(self, locked: Running, frame: str) -> None:
        """Without auth, what needs a key is answered like a wrong one (AUTH-5, X-SUB-4)."""
        async with locked.client() as client:
            assert (await client.ask(frame))["message"] == "Unauthorized"
            assert await closed_with(client) == 1008

    async def test_silence(self) -> None:
        """A connection that sends nothing stays open, keyed or not, and may still authenticate (CLOSE-1, CLOSE-2)."""
        async with running(api_key="s3cret", ping_interval_s=0.02, ping_timeout_s=5.0) as locked:
            async with locked.client() as client:
                with trio.move_on_after(0.3):
                    await client.websocket.recv()
                for wrong in ("{", "[]", '{"type":"?"}', b"\x00"):  # none of these is about keys
                    assert (await client.ask(wrong))["code"] != "unauthorized"
                assert await client.ask({"type": "ping"}) == {"type": "pong"}
                assert await client.ask({"type": "auth", "key": "s3cret"}) == {"type": "auth_ok"}

    async def test_key_is_not_repeated(self, locked: Running) -> None:
        """No answer and no close reason repeats a key (SEC-1)."""
        said = b""
        for message in ('{"type":"auth","key":"gu3ss"}', '{"type":"auth","key":["gu3ss"]}', '{"key":"gu3ss"'):
            async with raw_websocket(locked) as peer:
                await peer.send_frame(0x1, message.encode())
                said += (await peer.receive_frame())[1]
        for headers, path in (({"X-Tracker-Key": "gu3ss"}, ""), ({}, "?key=gu3ss"), ({}, "/gu3ss?key=gu3ss")):
            said += (await locked.http("GET", path, headers=headers)).body
        assert b"Unauthorized" in said
        assert b"gu3ss" not in said
        assert b"s3cret" not in said


SHOP = frozenset(["shop"])
KEYS = (
    Key(key="s3cret", name="everything"),
    Key(key="p4ge", name="page", scopes=frozenset([Scope.INGEST]), apps=SHOP),
    Key(key="0ffice", name="office", scopes=frozenset([Scope.QUERY]), apps=SHOP),
    Key(key="0ther", name="elsewhere", origins=("https://other.example",)),
)


class TestScopes:
    async def test_key_for_sending(self) -> None:
        """A key of a page sends events of its apps; asking is forbidden with the reqId, and closes nothing.

        X-SCOPE-1, X-SCOPE-4, CLOSE-1.
        """
        async with running(keys=KEYS) as server, server.client(key="p4ge") as client:
            refused = await client.ask(query("q1"))
            assert (refused["type"], refused["code"], refused["reqId"]) == ("error", "forbidden", "q1")
            assert (await client.ask({"type": "subscribe"}))["code"] == "forbidden"
            ack = await client.ask(ingest(event(appId="blog"), event(appId="shop"), 5))
            assert (ack["type"], ack["saved"]) == ("ack", 1)
            assert [rejection["index"] for rejection in ack["rejected"]] == [0, 2]
            assert ack["rejected"][0]["reason"].startswith("events[0].appId: the key is not for this app")

    async def test_key_for_asking(self) -> None:
        """A key of a dashboard sees its apps only; sending is forbidden, saves nothing, and closes nothing.

        X-SCOPE-2, X-SCOPE-5, CLOSE-1.
        """
        async with (
            running(keys=KEYS) as server,
            server.client(key="s3cret") as writer,
            server.client(key="0ffice") as client,
        ):
            for app, second in (("shop", 1), ("blog", 2)):
                await writer.ask(ingest(event(appId=app, timestamp=f"2026-11-23T10:00:0{second}Z")))
            refused = await client.ask(ingest(event(appId="shop")))
            assert (refused["type"], refused["code"]) == ("error", "forbidden")
            response = (await client.ask(query()))["response"]
            assert [entry["appId"] for entry in response["events"]] == ["shop"]
            assert (response["total"], response["nextCursor"]) == (1, "2026-11-23T10:00:01.000Z")
            assert await client.events(appId="blog") == []
            assert len(await writer.events()) == 2

    async def test_large_frames(self) -> None:
        """What is forbidden is so in frames that are decoded in a thread too, in order (X-SCOPE-2, CONN-6)."""
        large = ingest(event(appId="shop", payload={"text": "x" * 300_000}))
        async with running(keys=KEYS) as server, server.client(key="0ffice") as client:
            await client.send(large, query("q1"), large)
            answers = [await client.receive() for _ in range(3)]
            assert [answer.get("code", answer.get("reqId")) for answer in answers] == ["forbidden", "q1", "forbidden"]

    async def test_key_of_another_origin(self) -> None:
        """A right key on a page of another origin is forbidden, as is all after it; nothing is closed (X-SCOPE-6)."""
        async with running(keys=KEYS) as server:
            async with server.client(origin="https://shop.example") as client:
                await client.send({"type": "auth", "key": "0ther"}, ingest(event()), query("q1"), {"type": "subscribe"})
                assert [(await client.receive())["code"] for _ in range(4)] == ["forbidden"] * 4
                assert await client.ask({"type": "auth", "key": "0ffice"}) == {"type": "auth_ok"}
                assert await client.events() == []
            async with server.client(origin="https://other.example", key="0ther") as client:
                assert (await client.ask(ingest(event())))["saved"] == 1
                assert len(await client.events()) == 1


class TestIngest:
    async def test_acks(self, server: Running) -> None:
        """Each ingest frame gets one ack that counts what is kept, none included (INGEST-1, ACK-1, ACK-3)."""
        async with server.client() as client:
            await client.send(ingest(), ingest(event()), ingest(event(), event()), ingest(event(level="fatal")))
            assert [(await client.receive())["saved"] for _ in range(4)] == [0, 1, 2, 0]
            assert await client.ask({"type": "ping"}) == {"type": "pong"}, "there is no other ack"

    async def test_neighbours(self, server: Running) -> None:
        """Valid events are saved, whatever their neighbours; the others are named (INGEST-2, INGEST-3, X-REJECT-1)."""
        batch = [event(userId="0"), event(meta=...), event(userId="2"), 7, event(type="click\n"), event(userId="5")]
        async with server.client() as client:
            ack = await client.ask(ingest(*batch))
            assert ack["saved"] == 3
            assert ack["rejected"] == [
                {"index": 1, "reason": "events[1].meta: missing"},
                {"index": 3, "reason": "events[3]: expected an object"},
                {
                    "index": 4,
                    "reason": "events[4].type: expected a string that matches [A-Za-z][A-Za-z0-9_.:-]{0,63}",
                },
            ]
            assert [found["userId"] for found in await client.events()] == ["5", "2", "0"]

    async def test_many_rejections(self, server: Running) -> None:
        """An ack lists a thousand rejections and no more (X-REJECT-2)."""
        async with server.client() as client:
            ack = await client.ask(json.dumps({"type": "ingest", "events": [0] * 100_000}))
            assert (ack["saved"], len(ack["rejected"])) == (0, 1000)

    async def test_verbatim(self, server: Running) -> None:
        """An event comes back in the very bytes that came, but for its id (EVENT-8, X-BYTES-1)."""
        tail = (
            '"extra":{"b":1,"a":[1.50,1e2,-0,12345678901234567890]},"timestamp":"2026-11-23T22:05:13.5360+01:00",'
            '"level":"warn","type":"custom","appId":"d","sessionId":"s","userId":"\\u00fc\\/ü",'
            '"payload":{"note":"</script>\\u2028"},"meta":{ "z":null,\t"a":true}}'
        )
        async with server.client() as client:
            await client.send('{"type":"ingest","events":[{"id":"",' + tail + "]}", query())
            await client.receive()
            message = await client.websocket.recv()
            assert isinstance(message, str)
            assert tail in message

    async def test_ids(self, server: Running) -> None:
        """Ids are filled in where there are none, kept where there are, unique and the same in every answer.

        ID-1, ID-2, ID-3.
        """
        async with server.client() as client:
            await client.ask(ingest(event(), event(id=...), event(id="mine"), event()))
            found = [entry["id"] for entry in await client.events()]
            assert found[1] == "mine"
            assert all(isinstance(name, str) and name for name in found)
            assert len(set(found)) == 4
            assert [entry["id"] for entry in await client.events()] == found

    async def test_ids_cannot_be_taken_in_advance(self, server: Running) -> None:
        """What an event's id is tells a client nothing of the ids to come (ID-1)."""
        async with server.client() as client:
            await client.ask(ingest(*[event()] * 64))
            found = [entry["id"] for entry in await client.events()]
            assert len({name[:8] for name in found}) == len({name[-8:] for name in found}) == 64

    async def test_sent_again(self, server: Running) -> None:
        """An id that is stored for its app is acked and not stored again (X-DUP-1, X-DUP-2)."""
        async with server.client() as client:
            assert await client.ask(ingest(event(id="a"), event(id="b"))) == {"type": "ack", "saved": 2}
            again = await client.ask(ingest(event(id="a"), event(id="c"), event(id="c"), event(id="b", appId="other")))
            assert again == {"type": "ack", "saved": 4, "duplicates": 2}
            assert len(await client.events()) == 4

    async def test_read_your_writes(self, server: Running) -> None:
        """What was acked is in every later answer, on any connection and over HTTP (ACK-4)."""
        async with server.client() as writer, server.client() as reader:
            for number in range(1, 20):
                assert (await writer.ask(ingest(event())))["saved"] == 1
                assert (await reader.ask(query()))["response"]["total"] == number
                assert (await server.http("GET", "")).json()["total"] == number

    async def test_last_frame_before_close(self, server: Running) -> None:
        """Frames are saved though the client closes right behind them, or vanishes (ACK-6)."""
        async with server.client() as client:
            for number in range(20):
                await client.send(ingest(event(userId=str(number))))
            await client.websocket.aclose(1001)
        async with raw_websocket(server) as peer:
            frames = b"".join(masked(0x1, ingest(event(userId=str(number))).encode()) for number in range(20, 40))
            await peer.stream.send_all(frames)
            await peer.reset()
        async with server.client() as client:
            with trio.fail_after(20):
                while len(found := await client.events()) < 40:
                    await trio.sleep(0.01)
            assert {entry["userId"] for entry in found} == {str(number) for number in range(40)}

    async def test_backpressure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """While the store takes nothing, the server stops reading, keeps what it has, and keeps the connection.

        CONN-9, LIMIT-3.
        """
        gate = trio.Event()
        appended = 0

        class SlowStore(MemoryStore):
            async def append(self, events: Sequence[Event], *, is_patient: bool = True) -> Receipt:
                nonlocal appended
                appended += 1
                await gate.wait()
                return await super().append(events, is_patient=is_patient)

        monkeypatch.setattr(wsproto_tracker.server.app, "open_store", opening(SlowStore))
        async with running(ping_interval_s=0.05, ping_timeout_s=0.05) as server, server.client() as client:
            async with trio.open_nursery() as nursery:
                sent = 0

                async def flood() -> None:
                    nonlocal sent
                    noise = os.urandom(30_000).hex()
                    for _ in range(400):
                        await client.send(ingest(event(payload={"noise": noise})))
                        sent += 1

                nursery.start_soon(flood)
                await trio.sleep(1)  # many ping timeouts
                assert appended == 1
                assert sent < 400, "the server reads no further"
                gate.set()
                for _ in range(400):
                    assert (await client.receive())["saved"] == 1


class TestQueries:
    async def test_window(self, server: Running) -> None:
        """The window is inclusive at both ends and open where a bound is missing (QUERY-1 to QUERY-4, RESP-1)."""
        times = [f"2026-11-23T10:00:0{second}.000Z" for second in range(5)]
        async with server.client() as client:
            await client.ask(ingest(*(event(timestamp=time) for time in times)))

            async def found(**window: str) -> list[str]:
                answer = await client.ask(query("w", **window))
                assert (answer["type"], answer["reqId"]) == ("events:response", "w")
                assert answer["response"]["total"] == len(answer["response"]["events"])
                return [entry["timestamp"] for entry in answer["response"]["events"]]

            assert await found(since=times[1], until=times[3]) == times[3:0:-1]
            assert await found(since=times[3]) == times[:2:-1]
            assert await found(until=times[0]) == times[:1]
            assert await found() == times[::-1]
            assert await found(since="2026-11-23T11:00:03+01:00") == times[:2:-1]  # TIME-1, TIME-3
            assert await found(since=times[3], until=times[1]) == []  # QUERY-8

    async def test_order(self, server: Running) -> None:
        """Newest first by instant, not by spelling; equal instants newest arrival first (QUERY-5, QUERY-6, TIME-3)."""
        times = ["2026-11-23T10:00:00Z", "2026-11-23T11:30:00.5+01:00", "2026-11-23t10:00:00.000z"]
        async with server.client() as client:
            await client.ask(ingest(*(event(timestamp=time) for time in times)))
            assert [entry["timestamp"] for entry in await client.events()] == [times[1], times[2], times[0]]

    async def test_whole_window(self, server: Running) -> None:
        """Without a limit every event comes, thousands of them in one message (QUERY-7, QUERY-11)."""
        async with server.client() as client, server.client() as other:
            for _ in range(8):
                await client.ask(ingest(*[event()] * 1000))
            await client.send(query("big"))
            await client.send(ingest(event()))
            answer = await client.receive()
            assert (len(answer["response"]["events"]), answer["response"]["total"]) == (8000, 8000)
            assert (await client.receive())["saved"] == 1
            assert len(await other.events(limit=8001)) == 8001

    async def test_pages_and_cursor(self, server: Running) -> None:
        """Page, limit and total are told; nextCursor as ``after`` gives what is newer (RESP-2 to RESP-4, FILTER-*).

        FILTER-2, FILTER-5, FILTER-6, FILTER-7.
        """
        async with server.client() as client:
            await client.ask(ingest(*(event(timestamp=f"2026-11-23T10:00:0{n}Z", userId=str(n)) for n in range(5))))

            async def response(**members: Any) -> dict[str, Any]:
                found: dict[str, Any] = (await client.ask(query(**members)))["response"]
                found["events"] = [entry["userId"] for entry in found["events"]]
                return found

            cursor = "2026-11-23T10:00:04.000Z"
            assert await response() == {
                "events": ["4", "3", "2", "1", "0"],
                "total": 5,
                "page": 1,
                "limit": 5,
                "nextCursor": cursor,
            }
            second = {"events": ["2", "1"], "total": 5, "page": 2, "limit": 2, "nextCursor": cursor}
            assert await response(limit=2, page=2) == second
            assert await response(limit=2, page=9) == second | {"events": [], "page": 9}
            assert await response(after=cursor) == {"events": [], "total": 0, "page": 1, "limit": 0}
            await client.ask(ingest(event(timestamp="2026-11-23T10:00:05Z", userId="5")))
            assert (await response(after=cursor))["events"] == ["5"]

    async def test_filters(self, server: Running) -> None:
        """Filters compare exactly and combine; search looks into the payload (FILTER-1, FILTER-3, FILTER-4)."""
        async with server.client() as client:
            await client.ask(
                ingest(
                    event(userId="ann", level="warn", groupId="g", payload={"text": 'Größe "XL"'}),
                    event(userId="Ann", type="custom", appId="shop", sessionId="s2", payload={"n": {"deep": [1, 2]}}),
                )
            )

            async def users(**members: str) -> list[str]:
                return [entry["userId"] for entry in await client.events(**members)]

            for one in ({"userId": "ann"}, {"level": "warn"}, {"groupId": "g"}, {"appId": "demo"}, {"type": "click"}):
                assert await users(**one) == ["ann"]
            assert await users(sessionId="s2") == ["Ann"]
            assert await users(search="größe") == ["ann"]
            assert await users(search='"DEEP":[1,2]') == ["Ann"]
            assert await users(search="shop") == []
            assert await users(userId="ann", type="custom") == []

    async def test_reader_that_does_not_read(self) -> None:
        """A client that reads nothing of a large answer is cut off in time, and disturbs no other (CONN-7)."""
        async with running(send_timeout_s=0.2) as server:
            async with server.client() as client:
                for _ in range(10):
                    await client.ask(ingest(*[event(payload={"text": os.urandom(2000).hex()})] * 500))
            async with raw_websocket(server) as lazy:
                for _ in range(5):
                    await lazy.send_frame(0x1, query().encode())
                await still_serves(server)
                await trio.sleep(0.5)
                with trio.fail_after(20):
                    while await lazy.stream.receive_some(1_000_000):
                        pass


class TestPing:
    async def test_ping(self, locked: Running) -> None:
        """ping is answered with pong, before the key has come as well (X-PING-1)."""
        async with locked.client() as client:
            assert await client.ask({"type": "ping"}) == {"type": "pong"}
            await client.send({"type": "auth", "key": "s3cret"}, {"type": "ping"})
            assert [await client.receive(), await client.receive()] == [{"type": "auth_ok"}, {"type": "pong"}]

    async def test_keepalive_closes_the_dead(self) -> None:
        """A peer that neither answers pings nor sends a byte is closed; one that sends a long frame slowly is not.

        CONN-9.
        """
        async with running(ping_interval_s=0.1, ping_timeout_s=0.4) as server, raw_websocket(server) as slow:
            async with raw_websocket(server) as dead:
                frame = masked(0x1, ingest(event()).encode())
                for start in range(0, len(frame), 20):  # takes several times the ping timeout, and answers no ping
                    await slow.stream.send_all(frame[start : start + 20])
                    await trio.sleep(0.1)
                received = b""
                with trio.fail_after(20):
                    while data := await dead.stream.receive_some():
                        received += data
                assert struct.pack("!H", 1011) in received
            with trio.fail_after(20):
                while b'"ack"' not in (await slow.receive_frame())[1]:
                    pass


class TestWork:
    """What would hold up other connections is done in a thread (CONN-7)."""

    @pytest.fixture
    def noted(self, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
        """Whether each of the messages from now on was taken in a thread."""
        found: list[bool] = []
        receive, here = Session.receive, threading.get_ident()

        def noting(session: Session, message: str | bytes) -> tuple[Action, ...]:
            found.append(threading.get_ident() != here)
            return receive(session, message)

        monkeypatch.setattr(Session, "receive", noting)
        return found

    @pytest.mark.parametrize("item", ["0", "{}", '{"type":"click"}'])
    async def test_many_elements(self, server: Running, noted: list[bool], item: str) -> None:
        """A short frame of very many faulty events is much work, all of which are counted (X-REJECT-2)."""
        async with server.client() as client:
            ack = await client.ask(f'{{"type":"ingest","events":[{",".join([item] * 5_000)}]}}')
            assert (ack["saved"], len(ack["rejected"])) == (0, 1_000)
            assert (await client.ask({"type": "ping"}))["type"] == "pong"
        assert noted == [True, False]

    async def test_batches_of_the_plugin(self, server: Running, noted: list[bool]) -> None:
        """What pages send is decoded at once, as long as it is no flood; what one sends after an outage is not."""
        async with server.client() as client:
            for count in (1, 25, 150, 1_000):
                assert (await client.ask(ingest(*[event()] * count)))["saved"] == count
        assert noted == [False, False, False, True]

    async def test_bytes(self, server: Running, noted: list[bool]) -> None:
        """A large message is much work though it has few elements, and a binary one counts as text does."""
        async with server.client() as client:
            assert (await client.ask(ingest(event(payload={"text": "x" * 300_000}))))["saved"] == 1
            for data in (b"," * 5_000, b"x" * 5_000):
                assert (await client.ask(data))["code"] == "unsupported"
        assert noted == [True, True, False]

    async def test_req_id(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The reqId of a large frame that came too fast is looked for in a thread too (ERR-3, LIMIT-6)."""
        threads: list[int] = []

        def noting(message: str | bytes) -> str | None:
            threads.append(threading.get_ident())
            return req_id_of(message)

        monkeypatch.setattr(wsproto_tracker.server.websocket, "req_id_of", noting)
        large = json.dumps({"type": "ingest", "reqId": "mine", "events": [event()] * 1_000})
        async with running(max_event_rate=1.0, max_rate_delay_s=0.1) as server, server.client() as client:
            assert (await client.ask(large))["saved"] == 1_000
            refused = await client.ask(large)
        assert (refused["code"], refused["reqId"]) == ("rate_limited", "mine")
        assert len(threads) == 1
        assert threads != [threading.get_ident()]

    async def test_other_ways(self, server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        """Bodies, and what a program appends, are measured by their elements as well."""
        threads: list[int] = []
        read_batch = events.read_batch

        def noting(*arguments: Any) -> events.Batch:
            threads.append(threading.get_ident())
            return read_batch(*arguments)

        for module in (decoding, wsproto_tracker.server.tracker):
            monkeypatch.setattr(module, "read_batch", noting)
        for count in (5_000, 5):
            answer = await server.http("POST", "/events", b'{"events":[%b]}' % b",".join([b"{}"] * count))
            assert answer.json()["saved"] == 0
            assert (await server.server.append(["{}"] * count)).rejections == count
        assert [thread == threading.get_ident() for thread in threads] == [False, False, True, True]
