"""Where a provider is, and how long to wait for it. Values alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from agents.errors import Fatal

OPENAI_URL = "https://api.openai.com/v1"
ANTHROPIC_URL = "https://api.anthropic.com"
NO_KEY = "no-key"
"""Sent where an endpoint needs none: the SDK insists on some key."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds."""

    connect: float = 5.0
    """Until the connection stands, name lookup and TLS included."""
    first_token: float = 60.0
    """Of a streamed call: until the first token is there. A call that is not streamed comes whole, so `total` is its limit."""
    total: float = 120.0
    """Until the last byte."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One server and one key. Raises Fatal, naming the variable, for a URL or key that cannot be sent."""

    provider: str
    """As Model.provider."""
    base_url: str
    api_key: str = field(repr=False, default=NO_KEY)
    key_variable: str = "HIL_LLM_API_KEY"
    """The environment variable to set when the key is refused."""
    url_variable: str = "HIL_LLM_BASE_URL"
    """The environment variable to set when nobody answers."""

    def __post_init__(self) -> None:
        # Neither value is quoted: both may hold a secret.
        parts = urlsplit(self.base_url)
        if "@" in parts.netloc or parts.query:
            raise Fatal(
                f"{self.url_variable} holds a user, password or query, which would show in logs: "
                f"leave them out and put the key into {self.key_variable}."
            )
        if not self.api_key.isascii() or not self.api_key.isprintable() or " " in self.api_key:
            raise Fatal(
                f"{self.key_variable} holds a character no header can carry: copy the key again, without quotes or spaces."
            )
