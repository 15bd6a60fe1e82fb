"""agents.router.ports.Provider over any wire: one try a call, timed, counted, its failures named. Never retries.

But for one thing: what an endpoint does not take of a request is left out, and the request made again (abilities.py).
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Self

import anthropic
import msgspec
import openai

from agents.errors import NodeFailure
from agents.model_text import without_thoughts
from agents.ports import Attached, ChatRequest, Usage
from agents.router.models import Lack, Model
from agents.router.ports import Delta, ProviderFailure, ProviderReply
from connectors.llm import failures, usage
from connectors.llm.abilities import MOST_STEPS, lacking
from connectors.llm.call_ids import with_call_ids
from connectors.llm.connection import Connection, TimedOut
from connectors.llm.endpoint import Endpoint, Patience
from connectors.llm.failures import Fault
from connectors.llm.listening import listen
from connectors.llm.reading import Unreadable, decoded, string
from connectors.llm.said import Listener, Names, Said, Wire, names_of, tool_call
from connectors.llm.secrets import Secrets
from connectors.llm.spoken import Spoken
from connectors.llm.structured import unwrapped, wrapped

log = logging.getLogger(__name__)
Clock = Callable[[], float]


@dataclass(slots=True)
class _Call:
    """What is known of one try while it runs."""

    model: Model
    request: ChatRequest
    began: float
    first_token: float | None = None
    paid: Usage | None = None
    estimated: bool = False
    asked: int | None = None
    """Text tokens of the request, when they had to be guessed."""
    without: frozenset[Lack] = frozenset()
    """What its endpoint seems not to take, as its refusals of this call say."""
    sent: Mapping[str, Any] | None = None
    """The latest body."""
    shaped: ChatRequest = field(init=False)
    """The request as it is made: a schema that is no object's stands in one."""

    def __post_init__(self) -> None:
        schema = self.request.output_schema
        around = wrapped(schema) if schema is not None else None
        self.shaped = self.request if around is None else replace(self.request, output_schema=around)

    @property
    def is_wrapped(self) -> bool:
        return self.shaped is not self.request

    def estimate(self, written: int) -> None:
        """`written`: characters that came back."""
        if self.asked is None:
            self.asked = usage.guessed(self.request)
        self.paid, self.estimated = Usage(self.asked, output_text_tokens=usage.tokens(written)), True

    def hear(self, listener: Listener) -> None:
        """What is paid: the provider's count once the answer is whole; before that, at least what has arrived."""
        counted = listener.usage
        if counted is None:
            if listener.begun:
                self.estimate(listener.written)
        elif listener.ended:
            self.paid, self.estimated = counted, False
        else:
            arrived = max(counted.output_text_tokens, usage.tokens(listener.written))
            self.paid, self.estimated = replace(counted, output_text_tokens=arrived), True


class EndpointProvider:
    """Close it, or use it as an async context manager."""

    def __init__(
        self,
        endpoint: Endpoint,
        wire_of: Callable[[Model], Wire],
        *,
        patience: Patience | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.name = endpoint.provider
        self._endpoint, self._wire_of, self._clock = endpoint, wire_of, clock
        self._patience = patience or Patience()
        self._connection = Connection(endpoint, self._patience)
        self._secrets = Secrets(endpoint.api_key)
        self._encode = msgspec.json.Encoder().encode
        self.lacks: dict[str, frozenset[Lack]] = {}
        """By model, as the endpoint calls it: what it turned out not to take."""

    async def close(self) -> None:
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def complete(self, model: Model, request: ChatRequest) -> ProviderReply:
        """Raises ProviderFailure alone."""
        call = _Call(model, request, self._clock())
        while True:
            failure = reply = None
            try:
                reply = await self._answered(call, self._wire_of(model))
            except Exception as error:  # noqa: BLE001  # of two SDKs, an HTTP library and a socket; the port has one error
                failure = self._failed(call, error)
                if self._can_do_without(call, error):
                    continue
            if failure is not None or reply is None:
                assert failure is not None
                raise failure  # outside the handler: its context would be the SDK's error, which holds the request and the key
            self._remember(call)
            return reply

    async def _answered(self, call: _Call, wire: Wire) -> ProviderReply:
        names, content = self._written(call, wire, stream=False)
        raw = await self._connection.ask(wire.path, content)
        try:
            answer = decoded(raw)
        except Unreadable:
            if raw.lstrip()[:1] == b"{":  # an answer, and so paid, that was damaged on its way
                call.estimate(len(raw))
            raise
        if error := failures.error_in(answer):
            raise _Known(failures.of_event(error, self._endpoint))
        return self._reply(call, wire.said(answer, names))

    async def stream(self, model: Model, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """Raises ProviderFailure alone, with the usage so far when it breaks off."""
        call = _Call(model, request, self._clock())
        while True:
            failure = None
            try:
                async with aclosing(self._heard(call, self._wire_of(model))) as deltas:
                    async for delta in deltas:
                        yield delta
            except Exception as error:  # noqa: BLE001  # as in complete
                failure = self._failed(call, error)
                if self._can_do_without(call, error):
                    continue
            if failure is not None:
                raise failure
            self._remember(call)
            return

    async def _heard(self, call: _Call, wire: Wire) -> AsyncGenerator[Delta, None]:
        names, content = self._written(call, wire, stream=True)
        listener, spoken = wire.listener(names), Spoken()
        async with aclosing(listen(self._connection, wire.path, content, listener)) as pieces:
            async for added in pieces:
                if call.first_token is None and listener.written:
                    call.first_token = self._clock()
                call.hear(listener)
                if listener.error is not None:
                    raise _Known(failures.of_event(listener.error, self._endpoint))
                if heard := spoken.feed(added):
                    yield Delta(self._secrets.hidden(heard), paid=call.paid)
        if not listener.ended:
            raise _Known(Fault("try_next", "reset", " broke its answer off before the end."))
        reply = self._reply(call, listener.said())
        if rest := spoken.rest():
            yield Delta(self._secrets.hidden(rest), paid=call.paid)
        yield Delta(reply=reply, paid=call.paid)

    def _can_do_without(self, call: _Call, error: Exception) -> bool:
        """Whether the call is to be made once more, without what its endpoint seems not to take."""
        if not isinstance(error, openai.APIStatusError | anthropic.APIStatusError) or call.sent is None:
            return False
        lack = lacking(error.status_code, string(failures.error_object(error.body).get("message")), call.sent)
        if lack is None or lack in call.without or len(call.without) >= MOST_STEPS:
            return False
        call.without |= {lack}
        return True

    def _remember(self, call: _Call) -> None:
        """What was done without in an answered call is not asked for again."""
        if not call.without:
            return
        known = self.lacks.get(call.model.wire, frozenset())
        self.lacks[call.model.wire] = known | call.without
        log.info("%s at %s does not take: %s", call.model.wire, self._endpoint.base_url, ", ".join(sorted(call.without - known)))

    def _written(self, call: _Call, wire: Wire, *, stream: bool) -> tuple[Names, bytes]:
        model = call.model
        if lacks := self.lacks.get(model.wire, frozenset()) | call.without:
            model = replace(model, lacks=model.lacks | lacks)
        try:
            request = call.shaped
            if any(message.tool_calls for message in request.messages):
                request = replace(
                    request, messages=with_call_ids(request.messages, model.provider, short="call_ids" in model.lacks)
                )
            names = names_of(request)
            call.sent = wire.body(model, request, names, stream=stream)
            return names, self._encode(call.sent)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            # Its words may quote the request, which is a customer's.
            words = f" was not asked: the request cannot be written as JSON ({type(error).__name__}). Check the tools' schemas."
        raise _Known(Fault("callers_fault", "bad_request", words))

    def _reply(self, call: _Call, said: Said) -> ProviderReply:
        said = replace(said, text=without_thoughts(said.text))
        if call.is_wrapped:
            said = replace(said, text=unwrapped(said.text))
        written = bool(said.text.strip() or said.tool_calls)
        if said.usage is not None and written and not said.usage.output_text_tokens:
            said = replace(said, usage=None)  # who counts nothing for something has not counted
        if said.usage is not None:
            call.paid, call.estimated = said.usage, False
        if said.broken:
            if said.usage is None:
                call.estimate(len(said.text) + sum(len(each.raw) for each in said.tool_calls))
            raise _Known(Fault("try_next", "bad_finish", f" gave no whole answer: {said.broken}."))
        if not said.text.strip() and not said.tool_calls and said.finish_reason == "stop":
            raise _Known(Fault("try_next", "empty", " gave an empty answer."))
        hidden = self._secrets.hidden
        return ProviderReply(
            text=hidden(said.text),
            tool_calls=tuple(
                each
                if hidden(each.raw) == each.raw
                else tool_call(1, each.id, each.name, hidden(each.raw), names_of(call.request))
                for each in said.tool_calls
            ),
            usage=said.usage,
            finish_reason=said.finish_reason,
            latency_ms=self._since(call.began),
            first_token_ms=self._first_token_ms(call),
            attached=None if said.attached is None else Attached(call.model.provider, call.model.name, said.attached),
        )

    def _failed(self, call: _Call, error: Exception) -> ProviderFailure:
        fault = self._fault(error)
        words = self._secrets.out_of(f"model {call.model.wire} at {self._endpoint.base_url}{fault.words}")
        return ProviderFailure(
            fault.kind,
            words,
            code=fault.code,
            retry_after_s=fault.retry_after_s,
            too_long=fault.too_long,
            usage=call.paid,
            usage_estimated=call.estimated,
            latency_ms=self._since(call.began),
            first_token_ms=self._first_token_ms(call),
        )

    def _fault(self, error: Exception) -> Fault:
        match error:
            case _Known():
                return error.fault
            case TimedOut():
                seconds = self._patience.total if error.limit == "total" else self._patience.first_token
                what = "did not finish" if error.limit == "total" else "said nothing"
                return Fault("try_next", f"timeout_{error.limit}", f" {what} within {seconds:g} s.")
            case openai.APIStatusError() | anthropic.APIStatusError():
                body = failures.error_object(error.body)
                return failures.of_status(error.status_code, body, error.response.headers, self._endpoint)
            case Unreadable():
                words = f" answered, but not as its API does: {error}. Is {self._endpoint.url_variable} right?"
                return Fault("try_next", error.code, words)
            case NodeFailure():  # the guard
                return Fault("callers_fault", "forbidden", f": {error}")
        return failures.of_connection(error, self._endpoint)

    def _first_token_ms(self, call: _Call) -> int | None:
        return None if call.first_token is None else round((call.first_token - call.began) * 1000)

    def _since(self, began: float) -> int:
        return round((self._clock() - began) * 1000)


class _Known(Exception):
    """A fault that is known where it happens."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.words)
        self.fault = fault
