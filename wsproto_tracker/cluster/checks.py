"""Whether a stream and its servers keep what they ack: what they say of themselves, against what is wanted."""

import json
import ssl
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from wsproto_tracker.cluster.url import ClusterUrl

__all__ = ["LEAST_REPLICAS", "ask_monitor", "stream_problems", "sync_problems"]

LEAST_REPLICAS = 3  # so that a quorum is left when a machine is lost
_ANSWER_BYTES = 4 * 1024 * 1024
_TIMEOUT_S = 2.0
_LEAST_PAYLOAD = 1024 * 1024


def stream_problems(config: Mapping[str, Any], max_payload: int, url: ClusterUrl, *, is_full: bool) -> Iterator[str]:
    """What is wrong with a stream.

    :param config: as ``STREAM.INFO`` tells it.
    :param max_payload: what its servers take as one message, in bytes.
    :param is_full: whether it has to outlive the loss of a machine (``--durability full``).
    """
    expected = {f"{url.stream}.>", url.batches, url.marks}
    subjects = set(config.get("subjects") or ())
    if f"{url.stream}.>" not in subjects and not {url.batches, url.marks} <= subjects:
        yield f"it has the subjects {', '.join(sorted(subjects)) or 'of others'}; expected {url.stream}.>"
    elif subjects - expected:
        yield f"it has other subjects beside {url.stream}.>; expected none, for this stream is the trackers' alone"
    if config.get("retention", "limits") != "limits":
        yield f"its retention is {config['retention']}; expected limits (nats stream edit cannot change it)"
    if config.get("no_ack"):
        yield "it does not ack; expected no_ack: false"
    if not config.get("allow_rollup_hdrs"):
        yield f"it allows no rollups; expected them: nats stream edit {url.stream} --allow-rollup"
    if (config.get("max_msgs_per_subject") or -1) > 0:
        yield f"it keeps {config['max_msgs_per_subject']} messages of a subject; expected max_msgs_per_subject: -1"
    if 0 < (config.get("max_msg_size") or -1) < _LEAST_PAYLOAD:
        yield f"it takes messages of {config['max_msg_size']} bytes; expected max_msg_size: -1"
    if config.get("mirror") or config.get("sources"):
        yield "it copies from other streams; expected none, for this stream is the trackers' alone"
    if max_payload < _LEAST_PAYLOAD:
        yield f"its servers take messages of {max_payload} bytes; expected max_payload: 1MB, or more"
    if is_full and config.get("storage") != "file":
        yield f"its storage is {config.get('storage')}; expected file (make the stream anew)"
    if is_full and int(config.get("num_replicas") or 1) < LEAST_REPLICAS:
        replicas = config.get("num_replicas") or 1
        yield f"it has {replicas} replicas; expected 3: nats stream edit {url.stream} --replicas 3"


def sync_problems(servers: Iterable[str], told: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Which servers do not sync what they store before they ack it, and of which that is not known.

    :param servers: the names of those that have a replica.
    :param told: what each says of itself (``/varz``), by its name.
    """
    wrong, unknown = [], []
    for name in servers:
        if name not in told:
            unknown.append(name)
        elif not ((told[name].get("jetstream") or {}).get("config") or {}).get("sync_always"):
            wrong.append(name)
    return wrong, unknown


def ask_monitor(address: str, ca: Path | None = None) -> Mapping[str, Any]:
    """What the server with this monitoring address says of itself. It blocks.

    :param ca: file with the certificates that are trusted, where it is https; without it, those of the system.
    :raises OSError: if it does not answer.
    :raises ValueError: if what answers is no NATS server.
    """
    context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    with direct.open(f"{address}/varz", timeout=_TIMEOUT_S) as response:
        found = json.loads(response.read(_ANSWER_BYTES))
    if not isinstance(found, dict) or "server_name" not in found:
        raise ValueError(f"{address}: what answers there is no NATS server")
    return found
