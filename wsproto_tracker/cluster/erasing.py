"""Erasing in every node of a cluster, by whoever can reach its stream."""

from wsproto_tracker.cluster.bridge import open_bridge
from wsproto_tracker.cluster.errors import LostError
from wsproto_tracker.cluster.link import Link
from wsproto_tracker.cluster.message import Erasure, encode
from wsproto_tracker.cluster.url import ClusterUrl
from wsproto_tracker.errors import UnavailableError
from wsproto_tracker.protocol.ids import new_id

__all__ = ["erase_everywhere"]


async def erase_everywhere(url: ClusterUrl, *, user: str | None, app: str | None) -> None:
    """Have every node erase the events of a user, of an app, or of a user in an app, which were acked before.

    Returns when that is in the stream: every node does it when it comes to it. The stream itself holds their messages
    for as long as it holds any.

    :raises UnavailableError: if the stream cannot be reached.
    :raises StoreError: if there is no such stream, or it is none of a cluster.
    """
    async with open_bridge() as bridge:
        link = Link(url, is_full=False)
        try:
            await bridge.run(link.open, missing="there is no such stream")
            await bridge.run(link.publish, new_id(), encode(Erasure(user, app)))
        except LostError as error:
            raise UnavailableError(str(error), may_be_kept=True) from None
        finally:
            await bridge.run(link.close)
