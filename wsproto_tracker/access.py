"""Who may do what. Today one key opens everything; scopes, apps and origins get their place here."""

import hmac

import attrs

__all__ = ["Access"]


@attrs.frozen
class Access:
    """The configured key, or none.

    :ivar api_key: ``None`` lets everybody in (AUTH-2, AUTH-6).
    """

    api_key: str | None = attrs.field(default=None, repr=False)

    @property
    def needs_key(self) -> bool:
        """Whether a key is configured."""
        return self.api_key is not None

    def admits(self, key: str | None) -> bool:
        """Whether this key opens the tracker; takes the same time for every wrong one (SEC-2)."""
        if self.api_key is None:
            return True
        return hmac.compare_digest(_octets(key or ""), _octets(self.api_key))


def _octets(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")
