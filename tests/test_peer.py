"""Whose address counts: nothing that a client sends makes it somebody else, but what trusted proxies say of it does."""

import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.support import Running, running
from wsproto_tracker.server.peer import Peer, address_of, client_address, is_trusted, peer_of
from wsproto_tracker.settings.values import Network

PROXIES: tuple[Network, ...] = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"), "unix")

proxies = st.one_of(
    st.ip_addresses(v=4, network="10.0.0.0/8"),
    st.ip_addresses(v=6, network="fd00::/8"),
)
strangers = st.ip_addresses().map(str).filter(lambda text: not is_trusted(text, PROXIES))
RESET = struct.pack("ii", 1, 0)
texts = st.text(st.characters(max_codepoint=0xFF))  # as a header is decoded


@st.composite
def spelled(draw: st.DrawFn, ip: IPv4Address | IPv6Address) -> str:
    """An address as proxies write it."""
    port = draw(st.integers(1, 65535))
    text = str(ip)
    if ip.version == 4:
        ways = [text, f"{text}:{port}", f"::ffff:{text}", f"[::ffff:{text}]:{port}"]
    else:
        ways = [text, text.upper(), f"[{text}]", f"[{text}]:{port}", f"{text}%eth0"]
    return draw(st.sampled_from(["", " ", "\t"])) + draw(st.sampled_from(ways)) + draw(st.sampled_from(["", " "]))


def plain(text: str) -> str:
    """An address in the spelling that counts."""
    ip = ip_address(text)
    return str(ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else text


class TestClientAddress:
    @given(st.data(), texts, strangers, st.lists(proxies, max_size=4), st.one_of(proxies.map(str), st.just("unix")))
    def test_behind_proxies(
        self, data: st.DataObject, sent: str, client: str, between: list[IPv4Address | IPv6Address], last: str
    ) -> None:
        """Whatever a client sends, behind any chain of trusted proxies it is what the first of them saw."""
        seen = [data.draw(spelled(ip)) for ip in (ip_address(client), *between)]
        assert client_address(last, ",".join([sent, *seen]), PROXIES) == plain(client)

    @given(texts, strangers)
    def test_not_behind_a_proxy(self, sent: str, client: str) -> None:
        """What others than trusted proxies send counts for nothing."""
        assert client_address(client, sent, PROXIES) == client

    @given(texts, st.one_of(proxies.map(str), st.just("unix")))
    def test_only_addresses(self, sent: str, proxy: str) -> None:
        """What is no address never becomes one."""
        address = client_address(proxy, sent, PROXIES)
        assert address == proxy or str(ip_address(address)) == address

    @pytest.mark.parametrize(
        ("forwarded_for", "address"),
        [
            ("", "10.0.0.1"),
            ("192.0.2.7", "192.0.2.7"),
            ("198.51.100.9, 192.0.2.7", "192.0.2.7"),
            ("192.0.2.7, 10.1.2.3", "192.0.2.7"),
            ("10.9.9.9, 10.1.2.3", "10.9.9.9"),
            ("192.0.2.7,, ,", "192.0.2.7"),
            ("192.0.2.7, unknown", "10.0.0.1"),
            ("192.0.2.7, unknown, 10.1.2.3", "10.1.2.3"),
            ("192.0.2.7, unix:", "10.0.0.1"),
            ("192.0.2.7:50123", "192.0.2.7"),
            ("[2001:DB8::1]:443", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("'; drop table", "10.0.0.1"),
        ],
    )
    def test_examples(self, forwarded_for: str, address: str) -> None:
        """It is read from the end, past trusted proxies, and no further than what is no address."""
        assert client_address("10.0.0.1", forwarded_for, PROXIES) == address

    @pytest.mark.parametrize(
        ("address", "trusted", "expected"),
        [
            ("unix", ("unix",), True),
            ("unix", (ip_network("0.0.0.0/0"), ip_network("::/0")), False),
            ("10.0.0.1", ("unix",), False),
            ("::ffff:10.0.0.1", PROXIES, True),
            ("fd00::1%eth0", PROXIES, True),
            ("unknown", PROXIES, False),
        ],
    )
    def test_trusted(self, address: str, trusted: tuple[Network, ...], expected: bool) -> None:
        """Who comes through the unix socket is trusted only where that is said, and so is everybody else."""
        assert is_trusted(address, trusted) is expected


class TestTransport:
    async def test_gone(self, server: Running) -> None:
        """A client that has gone before the server looks is nobody, and takes nobody along (CONN-7)."""
        with socket.create_connection((server.address.host, server.address.port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        assert (await server.http("GET", "/ping")).status == 200

    async def test_reset(self) -> None:
        """The system forgets the address of a client that has reset its connection."""
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with listener:
            client = await trio.open_tcp_stream(*listener.socket.getsockname())
            client.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, RESET)
            await client.aclose()
            with trio.fail_after(20):
                async with await listener.accept() as stream:
                    with pytest.raises(OSError, match="not connected"):
                        peer_of(stream)

    async def test_ipv4_in_ipv6(self) -> None:
        """A client of IPv4 at a socket of IPv6 has the address that it has otherwise."""
        listener = trio.socket.socket(trio.socket.AF_INET6)
        with listener:
            try:
                listener.setsockopt(trio.socket.IPPROTO_IPV6, trio.socket.IPV6_V6ONLY, 0)
                await listener.bind(("::", 0))
            except OSError:
                pytest.skip("this machine has no IPv6")
            listener.listen()
            async with await trio.open_tcp_stream("127.0.0.1", listener.getsockname()[1]):
                near, _ = await listener.accept()
                async with trio.SocketStream(near) as stream:
                    assert peer_of(stream) == Peer("127.0.0.1", is_called=True)


@pytest.mark.parametrize(
    ("told", "address"),
    [("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("unix", "unix"), ("", ""), ("1.2.3.4:5", "")],
)
def test_addresses_that_are_told(told: str, address: str) -> None:
    """What a program tells of an address is put as the sockets of the server itself tell it."""
    assert address_of(told) == address


class TestLimits:
    @pytest.mark.parametrize(("trusted", "status"), [("127.0.0.0/8", 401), ("10.0.0.0/8", 429)])
    async def test_wrong_keys(self, trusted: str, status: int) -> None:
        """With a proxy that is trusted each of its clients has its own limits; otherwise they share the proxy's."""

        async def guess(server: Running, client: str) -> int:
            headers = {"X-Tracker-Key": "guess", "X-Forwarded-For": client}
            return (await server.http("GET", "", headers=headers)).status

        async with running(api_key="s3cret", max_auth_failures=1, trusted_proxy=(ip_network(trusted),)) as server:
            assert await guess(server, "198.51.100.7") == 401
            assert await guess(server, "198.51.100.7") == 429
            assert await guess(server, "198.51.100.8") == status

    async def test_connections(self) -> None:
        """Connections are counted by the client that a trusted proxy tells of."""
        async with running(max_connections_per_address=1, trusted_proxy=(ip_network("127.0.0.1"),)) as server:
            one, other = ({"X-Forwarded-For": f"198.51.100.{number}"} for number in (7, 8))
            async with server.client(additional_headers=one), server.client(additional_headers=other):
                assert (await server.http("GET", "/ping", headers=one)).status == 429
                assert (await server.http("GET", "/ping", headers={"X-Forwarded-For": "198.51.100.9"})).status == 200

    async def test_one_connection_for_many(self) -> None:
        """A connection of a proxy counts for a client while a request of that client is in hand, and no longer."""
        async with running(max_connections_per_address=1, trusted_proxy=(ip_network("127.0.0.1"),)) as server:
            async with await server.connect() as proxy:
                for number in (7, 8):
                    await proxy.send_all(
                        b"GET /_tracker/ping HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 198.51.100.%d\r\n\r\n"
                        % number
                    )
                    answer = bytearray()
                    while not answer.endswith(b"}"):
                        answer += await proxy.receive_some()
                    assert answer.startswith(b"HTTP/1.1 200 ")
                async with server.client(additional_headers={"X-Forwarded-For": "198.51.100.7"}) as client:
                    assert await client.ask({"type": "ping"}) == {"type": "pong"}
