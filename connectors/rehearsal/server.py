"""The rehearsal endpoint's HTTP: /v1/models, /v1/chat/completions, /v1/embeddings, on loopback."""

from __future__ import annotations

import base64
import itertools
import json
import time
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from connectors.rehearsal import wire
from connectors.rehearsal.loopback import LoopbackServer, serve
from connectors.rehearsal.model import RehearsalModel
from connectors.rehearsal.wire import ChatBody, EmbeddingsBody, Refused

_Body = TypeVar("_Body", bound=BaseModel)
_LARGEST_BODY = 32 * 1024 * 1024


class Endpoint:
    """Request handlers over one model."""

    def __init__(self, model: RehearsalModel) -> None:
        self.model = model
        self._numbers = itertools.count(1)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/models", self.models, methods=["GET"]),
                Route("/v1/models/{name}", self.one_model, methods=["GET"]),
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/embeddings", self.embeddings, methods=["POST"]),
            ],
            exception_handlers={Refused: _refused, HTTPException: _http, Exception: _broken, ClientDisconnect: _gone},
        )

    async def models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [_card(wire.MODEL), _card(wire.EMBEDDING_MODEL)]}, headers=wire.HEADER)

    async def one_model(self, request: Request) -> Response:
        return JSONResponse(_card(request.path_params["name"]), headers=wire.HEADER)

    async def chat(self, request: Request) -> Response:
        body = await _read(request, ChatBody)
        reply, usage = self.model.complete(body)
        answer_id, created = f"chatcmpl-rehearsal-{next(self._numbers)}", int(time.time())
        if body.stream:
            told = usage if body.stream_options and body.stream_options.include_usage else None
            events = wire.chunks(reply, told, answer_id=answer_id, created=created)
            return StreamingResponse(_each(events), media_type="text/event-stream", headers=wire.HEADER)
        return JSONResponse(wire.completion(reply, usage, answer_id=answer_id, created=created), headers=wire.HEADER)

    async def embeddings(self, request: Request) -> Response:
        body = await _read(request, EmbeddingsBody)
        texts = [body.input] if isinstance(body.input, str) else body.input
        if body.dimensions not in (None, 256):
            raise Refused("This model makes vectors of 256 dimensions only.", param="dimensions")
        if not texts or any(not text for text in texts):
            raise Refused("input must hold at least one text, and no empty one.", param="input")
        vectors, count = self.model.embed(texts)
        data: list[dict[str, Any]] = []
        for at, vector in enumerate(vectors):
            shown: Any = vector.tolist()
            if body.encoding_format == "base64":
                shown = base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode()
            data.append({"object": "embedding", "index": at, "embedding": shown})
        usage = {"prompt_tokens": count, "total_tokens": count}
        return JSONResponse({"object": "list", "data": data, "model": wire.EMBEDDING_MODEL, "usage": usage}, headers=wire.HEADER)


async def _each(events: Any) -> Any:
    for event in events:
        yield event


def _card(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "rehearsal"}


async def _read(request: Request, kind: type[_Body]) -> _Body:
    """The body as `kind`. Raises Refused with what is wrong and where."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > _LARGEST_BODY:
        raise Refused(f"The request is larger than {_LARGEST_BODY} bytes.", status=413)
    try:
        raw = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise Refused(f"We could not parse the JSON body of your request: {error}") from error
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or None
        raise Refused(f"Invalid value for '{where or 'body'}': {first['msg']}.", param=where) from error
    except RecursionError as error:
        raise Refused("The request is nested too deeply.") from error


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return JSONResponse(error.as_json(), status_code=error.status, headers=wire.HEADER)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    refused = Refused(f"{error.detail}: {request.method} {request.url.path}", status=error.status_code, code="unknown_url")
    return JSONResponse(refused.as_json(), status_code=error.status_code, headers=wire.HEADER)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)


async def _broken(request: Request, error: Exception) -> Response:
    refused = Refused(f"The rehearsal model failed on this request: {type(error).__name__}: {error}", status=500)
    return JSONResponse(refused.as_json(), status_code=500, headers=wire.HEADER)


async def serve_rehearsal(port: int = 0) -> tuple[LoopbackServer, str]:
    """Start the endpoint on loopback. Returns the running server and the base URL for `openai.AsyncOpenAI(base_url=…)`.

    Raises connectors.embeddings.EmbeddingsError without the extra `embedded`, OSError when the port is taken.
    """
    server = await serve(Endpoint(RehearsalModel.load()).app(), port=port)
    return server, f"{server.origin}/v1"
