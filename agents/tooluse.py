"""One tool call on behalf of a model: what it may not do is told back to it, what it did is noted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agents.ports import ToolCall, ToolResult, Tools


async def use(tools: Tools, call: ToolCall) -> ToolResult:
    """Call a tool, or say why not in a result the model can read. Raises Retryable or Park as Tools does."""
    allowed = [spec.name for spec in tools.specs()]
    if call.name not in allowed:
        return ToolResult(
            success=False,
            error=f"There is no tool {call.name!r} here. You may use: {', '.join(allowed) or 'none; answer without tools'}.",
            acted=False,
        )
    if call.arguments is None:
        return ToolResult(
            success=False,
            error=f"The arguments of {call.name} were not a JSON object: {call.raw[:200]!r}. Call it again with one JSON object.",
            acted=False,
        )
    return await tools.call(call)


def observation(result: ToolResult) -> Mapping[str, Any]:
    """A result as the model reads it and as the steps keep it."""
    if result.success:
        return {"ok": True, "data": result.data}
    noted: dict[str, Any] = {"ok": False, "error": result.error or "The tool failed and gave no reason."}
    return noted if result.data in (None, {}, []) else {**noted, "data": result.data}
