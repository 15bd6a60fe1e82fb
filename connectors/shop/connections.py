"""Which user has connected which toolkit. Everyone is connected to everything, except users named `unconnected…`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from connectors.shop.tools import TOOLKITS
from connectors.shop.wire import WireError, account_json, auth_config_id, state_json

_SLUGS = tuple(kit.slug for kit in TOOLKITS)
STRANGER = "unconnected"
"""A user id that begins so has no connection until it makes one."""


@dataclass(frozen=True, slots=True)
class Started:
    """A connection that waits for the person's consent."""

    account_id: str
    toolkit: str
    user_id: str
    redirect_url: str

    def as_created(self) -> dict[str, Any]:
        return {
            "id": self.account_id,
            "status": "INITIATED",
            "connectionData": state_json("INITIATED"),
            "redirect_url": self.redirect_url,
            "redirect_uri": self.redirect_url,
        }

    def as_link(self) -> dict[str, Any]:
        return {
            "connected_account_id": self.account_id,
            "link_token": f"lk_{self.account_id}",
            "redirect_url": self.redirect_url,
            "expires_at": "2099-01-01T00:00:00.000Z",
        }


@dataclass(slots=True)
class Connections:
    """Connections made through the API; those of known users are implied."""

    _made: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    """Account id → toolkit, user, status."""

    def require(self, toolkit: str, user_id: str, account_id: object) -> None:
        """Raises WireError when the user may not use the toolkit."""
        if account_id is not None:
            self.account(str(account_id))
            return
        if not user_id:
            raise WireError(400, "user_id is required", "ActionExecute_UserIdRequired", "Send user_id in the request body.")
        if not self._active(toolkit, user_id):
            raise WireError(
                400,
                f"No connected account found for user ID {user_id} for toolkit {toolkit}",
                "ActionExecute_ConnectedAccountNotFound",
                f"Connect {toolkit} for {user_id} first.",
            )

    def listing(self, *, users: Sequence[str], toolkits: Sequence[str], statuses: Sequence[str]) -> list[dict[str, Any]]:
        implied = {
            _implied(kit, user): (kit, user, "ACTIVE") for user in users if not user.startswith(STRANGER) for kit in _SLUGS
        }
        return [
            account_json(account_id, kit, user, status)
            for account_id, (kit, user, status) in (implied | self._made).items()
            if (not users or user in users) and (not toolkits or kit in toolkits) and (not statuses or status in statuses)
        ]

    def account(self, account_id: str) -> dict[str, Any]:
        if account_id in self._made:
            return account_json(account_id, *self._made[account_id])
        for kit in _SLUGS:
            if account_id.startswith(prefix := _implied(kit, "")):
                return account_json(account_id, kit, account_id.removeprefix(prefix), "ACTIVE")
        raise WireError(404, f"Connected account {account_id} not found", "ConnectedAccount_ResourceNotFound")

    def start(self, body: dict[str, Any], origin: str) -> Started:
        """Begin a connection from the body of `POST /connected_accounts` or of `/link`."""
        config = body.get("auth_config_id")
        if isinstance(body.get("auth_config"), dict):
            config = body["auth_config"].get("id")
        connection = body.get("connection")
        user = body.get("user_id") or (connection.get("user_id") if isinstance(connection, dict) else None) or "default"
        kit = next((slug for slug in _SLUGS if auth_config_id(slug) == config), None)
        if kit is None or not isinstance(user, str):
            raise WireError(400, f"Auth config {config!r} not found", "AuthConfig_NotFound", "List the auth configs first.")
        account_id = f"ca_made_{len(self._made) + 1}"
        self._made[account_id] = (kit, user, "INITIATED")
        return Started(account_id, kit, user, f"{origin}/connect/{account_id}")

    def consent(self, account_id: str) -> dict[str, Any]:
        kit, user = self.account(account_id)["toolkit"]["slug"], self.account(account_id)["user_id"]
        self._made[account_id] = (kit, user, "ACTIVE")
        return self.account(account_id)

    def _active(self, toolkit: str, user_id: str) -> bool:
        return not user_id.startswith(STRANGER) or (toolkit, user_id, "ACTIVE") in self._made.values()


def _implied(toolkit: str, user_id: str) -> str:
    return f"ca_{toolkit}_{user_id}"
