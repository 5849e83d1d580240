"""Who is at the other end of a connection: as its transport tells, or the proxies that are trusted to tell."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

import attrs
import trio

from wsproto_tracker.settings.values import UNIX_PEER, Network

__all__ = ["Peer", "address_of", "client_address", "is_trusted", "peer_of"]


@attrs.frozen
class Peer:
    """The other end of a connection.

    :ivar address: its IP address, that of the client where a trusted proxy tells it; ``unix`` for a unix socket.
    :ivar origin: where the page comes from that opened it; ``None`` for a client that is no page.
    :ivar is_called: whether it came over a network, so that its ``Host`` is what a browser has called the server.
    """

    address: str
    origin: str | None = None
    is_called: bool = False


def address_of(told: str) -> str:
    """The address of a peer as somebody else has told it: IPv4 in IPv6 as IPv4; what is no address counts as none."""
    return told if told == UNIX_PEER else str(_parsed(told) or "")


def peer_of(stream: trio.SocketStream) -> Peer:
    """The other end of a socket.

    :raises OSError: if it has gone already.
    """
    if stream.socket.family == trio.socket.AF_UNIX:
        return Peer(UNIX_PEER)
    host = stream.socket.getpeername()[0]
    return Peer(str(_parsed(host) or host), is_called=True)


def is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    """Whether an address, or ``unix``, is that of a trusted proxy."""
    if address == UNIX_PEER:
        return UNIX_PEER in trusted
    ip = _parsed(address)
    return ip is not None and any(ip in network for network in trusted if not isinstance(network, str))


def client_address(address: str, forwarded_for: str, trusted: Sequence[Network]) -> str:
    """The address of the client: that of the transport, or what trusted proxies tell of it.

    Each proxy appends the address that it sees to ``X-Forwarded-For``. So it is read from its end, and no further than
    trusted proxies wrote it: what stands before it, anybody can have sent.

    :param address: of the transport; an IP address, or ``unix``.
    :param forwarded_for: the header, empty where there was none; what is no address in it counts for nothing.
    """
    for item in reversed(forwarded_for.split(",")):
        if not item.strip():
            continue
        if not is_trusted(address, trusted) or (ip := _parsed(_without_port(item.strip()))) is None:
            break
        address = str(ip)
    return address


def _without_port(item: str) -> str:
    """The address alone of ``192.0.2.1:50123``, ``[2001:db8::1]`` and ``[2001:db8::1]:50123``."""
    if item.startswith("["):
        return item[1:].partition("]")[0]
    return item.partition(":")[0] if item.count(":") == 1 else item


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """An IP address without its zone; IPv4 in IPv6 is IPv4."""
    try:
        ip = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip
