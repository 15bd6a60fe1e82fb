"""The simple agent: one call to a model; output that breaks its schema gets one chance to be mended."""

from __future__ import annotations

from typing import Any

from agents.answers import Unfit, read_answer
from agents.errors import Fatal
from agents.ports import AgentResult, ChatMessage, ChatModel, ChatRequest, Tools, Work
from schemas.workflow.delimiters import inert

NOTHING_SAID = "(The customer's message is empty.)"
MAX_SHOWN = 100_000
"""Characters of its unfit answer that a model is shown again."""


class SimpleAgent:
    """Output: the text, or the validated value when the node has an output schema."""

    async def run(self, work: Work, *, model: ChatModel, tools: Tools) -> AgentResult:
        messages = opening(work, work.system_prompt, work.instruction)
        steps: list[dict[str, Any]] = []
        problem = ""
        for _ in range(2):
            reply = await model.complete(
                ChatRequest(
                    profile=work.profile,
                    messages=messages,
                    output_schema=work.output_schema,
                    temperature=work.temperature,
                    max_tokens=work.max_tokens,
                )
            )
            try:
                output = read_answer(reply, work.output_schema, node=work.node_id)
            except Unfit as unfit:
                problem = str(unfit)
                steps.append({"answer": reply.text[:2000], "problem": problem})
                messages = (
                    *messages,
                    ChatMessage("assistant", reply.text[:MAX_SHOWN] or "(no answer)"),
                    ChatMessage("user", problem),
                )
            else:
                return AgentResult(output=output, steps=steps)
        raise Fatal(
            f"node {work.node_id}: the model gave no usable answer in two tries. The last problem: {problem[:600]} "
            "Simplify the prompt or the output_schema, or choose a stronger model_profile."
        )


def opening(work: Work, system: str | None, instruction: str) -> tuple[ChatMessage, ...]:
    """The first messages of a conversation with a model. Never an empty one: providers refuse those."""
    user = ChatMessage("user", instruction if instruction.strip() else NOTHING_SAID)
    return (ChatMessage("system", system), user) if system and system.strip() else (user,)


def with_customer_text(work: Work) -> str:
    """The instruction, and the customer's words below it when the author's template left them out."""
    said = work.customer_text.strip()
    if said and work.may_quote and inert(said) in inert(work.instruction):
        return work.instruction
    quoted = inert(said) or NOTHING_SAID
    return f"{work.instruction}\n\nThe customer wrote:\n<message>\n{quoted}\n</message>"
