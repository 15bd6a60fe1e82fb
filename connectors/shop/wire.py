"""Composio v3.1's JSON shapes: tools, toolkits, connected accounts, auth configs, errors. Builds them, decides nothing."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from connectors.shop.tools import TOOLS, VERSION, Tool, Toolkit

_LOGO = "https://logos.example.com/{}.svg"
_BORN = "2026-11-01T00:00:00.000Z"


@dataclass(frozen=True, slots=True)
class WireError(Exception):
    """A refused request, before any tool was reached."""

    status: int
    message: str
    slug: str
    suggested_fix: str = ""

    def as_json(self, request_id: str) -> dict[str, Any]:
        return {
            "error": {
                "message": self.message,
                "code": self.status * 10,
                "slug": self.slug,
                "status": self.status,
                "request_id": request_id,
                "suggested_fix": self.suggested_fix,
            }
        }


def tool_json(tool: Tool) -> dict[str, Any]:
    toolkit = {"slug": tool.toolkit, "name": tool.toolkit.capitalize(), "logo": _LOGO.format(tool.toolkit)}
    return {
        "slug": tool.slug,
        "name": tool.name,
        "description": tool.description,
        "human_description": tool.description,
        "input_parameters": tool.input_parameters(),
        "output_parameters": tool.output_parameters(),
        "tags": list(tool.tags),
        "scopes": [],
        "no_auth": False,
        "is_deprecated": False,
        "version": VERSION,
        "available_versions": [VERSION],
        "toolkit": toolkit,
        "deprecated": {
            "displayName": tool.name,
            "version": VERSION,
            "available_versions": [VERSION],
            "is_deprecated": False,
            "toolkit": {"logo": toolkit["logo"]},
        },
    }


def toolkit_json(toolkit: Toolkit) -> dict[str, Any]:
    return {
        "slug": toolkit.slug,
        "name": toolkit.name,
        "type": "native",
        "no_auth": False,
        "auth_schemes": ["OAUTH2"],
        "composio_managed_auth_schemes": ["OAUTH2"],
        "is_local_toolkit": False,
        "deprecated": {"toolkitId": toolkit.slug},
        "meta": {
            "description": toolkit.description,
            "logo": _LOGO.format(toolkit.slug),
            "categories": [{"id": toolkit.category, "name": toolkit.category.title()}],
            "tools_count": sum(tool.toolkit == toolkit.slug for tool in TOOLS),
            "triggers_count": 0,
            "created_at": _BORN,
            "updated_at": _BORN,
            "version": VERSION,
        },
    }


def auth_config_id(toolkit: str) -> str:
    return f"ac_{toolkit}"


def auth_config_json(toolkit: Toolkit) -> dict[str, Any]:
    return {
        "id": auth_config_id(toolkit.slug),
        "uuid": auth_config_id(toolkit.slug),
        "name": toolkit.name,
        "type": "default",
        "status": "ENABLED",
        "auth_scheme": "OAUTH2",
        "is_composio_managed": True,
        "no_of_connections": 0,
        "tool_access_config": {},
        "toolkit": {"slug": toolkit.slug, "logo": _LOGO.format(toolkit.slug)},
        "created_at": _BORN,
    }


def account_json(account_id: str, toolkit: str, user_id: str, status: str) -> dict[str, Any]:
    return {
        "id": account_id,
        "user_id": user_id,
        "status": status,
        "status_reason": None,
        "is_disabled": False,
        "created_at": _BORN,
        "updated_at": _BORN,
        "toolkit": {"slug": toolkit},
        "auth_config": {
            "id": auth_config_id(toolkit),
            "auth_scheme": "OAUTH2",
            "is_composio_managed": True,
            "is_disabled": False,
        },
        "state": state_json(status),
        "data": {},
        "test_request_endpoint": "",
    }


def state_json(status: str) -> dict[str, Any]:
    """Connection state; the toy shop's tokens open nothing."""
    if status == "ACTIVE":
        return {"authScheme": "OAUTH2", "val": {"status": status, "access_token": "toy-shop"}}
    return {"authScheme": "OAUTH2", "val": {"status": status, "redirectUrl": "", "callback_url": ""}}


def page(items: Sequence[dict[str, Any]], *, limit: str | None, cursor: str | None) -> dict[str, Any]:
    """One page of a list. Raises WireError for a limit or cursor that is none."""
    try:
        size = max(1, min(1000, int(float(limit)))) if limit else 20
        number = int(base64.urlsafe_b64decode(cursor.encode()).split(b"-")[0]) if cursor else 1
    except (ValueError, OverflowError, binascii.Error) as error:
        raise WireError(400, f"Invalid limit or cursor: {error}", "Request_InvalidQuery") from error
    pages = max(1, -(-len(items) // size))
    following = base64.urlsafe_b64encode(f"{number + 1}-{size}".encode()).decode() if number < pages else None
    return {
        "items": list(items[(number - 1) * size : number * size]),
        "next_cursor": following,
        "total_pages": pages,
        "current_page": number,
        "total_items": len(items),
    }
