"""How many text tokens a request has, before it is sent. Works with no network and never fails on a text or a model."""

from agents.router.tokens.counter import TokenCounter

__all__ = ["TokenCounter"]
