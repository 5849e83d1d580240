"""What ``wss:`` and ``https:`` are checked against."""

import ssl
from functools import lru_cache

__all__ = ["tls_context"]


@lru_cache(maxsize=4)
def tls_context(ca: str) -> ssl.SSLContext:
    """A context for clients.

    :param ca: a file with the CAs that are trusted; empty for those that the system trusts.
    :raises OSError: if the file cannot be read, or holds no certificate.
    """
    return ssl.create_default_context(cafile=ca or None)
