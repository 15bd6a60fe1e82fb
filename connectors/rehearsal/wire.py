"""OpenAI's chat-completions wire: what a request may hold, how an answer and a refusal look. Decides nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

MODEL = "rehearsal-1"
EMBEDDING_MODEL = "rehearsal-embedding-256"
FINGERPRINT = "fp_rehearsal_stand_in"
HEADER = {"x-rehearsal-model": "deterministic stand-in, not a language model"}


class Refused(Exception):
    """A request that cannot be served, in OpenAI's terms."""

    def __init__(self, message: str, *, param: str | None = None, status: int = 400, code: str | None = None) -> None:
        super().__init__(message)
        self.message, self.param, self.status, self.code = message, param, status, code

    def as_json(self) -> dict[str, Any]:
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def _text(content: object) -> object:
    """Content parts as one text; parts that are no text are refused by the type."""
    if content is None:
        return ""
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        return "\n".join(part for part in parts if isinstance(part, str)) if all(isinstance(p, str) for p in parts) else content
    return content


Text = Annotated[str, BeforeValidator(_text)]


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class FunctionCall(_Lenient):
    name: str
    arguments: str = "{}"


class AskedCall(_Lenient):
    id: str = ""
    function: FunctionCall


class Message(_Lenient):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Text = ""
    tool_calls: list[AskedCall] | None = None
    tool_call_id: str | None = None


class Function(_Lenient):
    name: Annotated[str, Field(min_length=1, max_length=64)]
    description: str | None = None
    parameters: dict[str, Any] | None = None


class OfferedTool(_Lenient):
    type: Literal["function"]
    function: Function


class JsonSchema(_Lenient):
    name: str = "answer"
    schema_: dict[str, Any] = Field(default_factory=dict, alias="schema")


class ResponseFormat(_Lenient):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StreamOptions(_Lenient):
    include_usage: bool = False


class ChatBody(_Lenient):
    model: str
    messages: Annotated[list[Message], Field(min_length=1)]
    tools: list[OfferedTool] | None = None
    tool_choice: Any = None
    response_format: ResponseFormat | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    n: Literal[1] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None

    @property
    def limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens


class EmbeddingsBody(_Lenient):
    model: str
    input: str | list[str]
    encoding_format: Literal["float", "base64"] | None = "float"
    dimensions: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call the model asks for."""

    id: str
    name: str
    arguments: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        arguments = json.dumps(self.arguments, ensure_ascii=False)
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": arguments}}


@dataclass(frozen=True, slots=True)
class Reply:
    text: str
    calls: Sequence[Call] = ()
    finish_reason: Literal["stop", "length", "tool_calls"] = "stop"


@dataclass(frozen=True, slots=True)
class Usage:
    prompt: int
    completion: int

    def as_json(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        }


def completion(reply: Reply, usage: Usage, *, answer_id: str, created: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None, "refusal": None}
    if reply.calls:
        message["tool_calls"] = [call.as_json() for call in reply.calls]
    return {
        "id": answer_id,
        "object": "chat.completion",
        "created": created,
        "model": MODEL,
        "system_fingerprint": FINGERPRINT,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reply.finish_reason}],
        "usage": usage.as_json(),
    }


def chunks(reply: Reply, usage: Usage | None, *, answer_id: str, created: int) -> Iterator[str]:
    """The same answer as server-sent events, ended by `[DONE]`; with `usage`, a last chunk carries it."""
    base = {
        "id": answer_id,
        "object": "chat.completion.chunk",
        "created": created,
        "model": MODEL,
        "system_fingerprint": FINGERPRINT,
    }

    def event(delta: dict[str, Any], finish: str | None = None) -> str:
        body = {**base, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]}
        if usage is not None:
            body["usage"] = None
        return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"

    yield event({"role": "assistant", "content": ""})
    for start in range(0, len(reply.text), 48):
        yield event({"content": reply.text[start : start + 48]})
    for at, call in enumerate(reply.calls):
        yield event({"tool_calls": [{"index": at, **call.as_json()}]})
    yield event({}, reply.finish_reason)
    if usage is not None:
        yield f"data: {json.dumps({**base, 'choices': [], 'usage': usage.as_json()})}\n\n"
    yield "data: [DONE]\n\n"
