"""Writes a small Python program against the tool stubs a prompt shows. Plain statements only: the sandbox knows a subset."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from connectors.rehearsal.filling import brief
from connectors.rehearsal.materials import STAMP
from connectors.rehearsal.reading import Reading
from connectors.rehearsal.toolcalls import Planner, is_read

_STUB = re.compile(r"^def (?P<name>\w+)\((?P<parameters>[^)]*)\)\s*->\s*[\w\[\], .]+:", re.MULTILINE)
_WINDOW = re.compile(r"(?:younger|less|fewer|within|under|last|<)\D{0,20}(\d{1,3})[ -]days", re.IGNORECASE)
_USUAL_WINDOW_DAYS = 30
_FAILED = re.compile(r"Traceback|program failed|interpreter stopped|no ```python block|does not fit the schema", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Stub:
    name: str
    required: tuple[str, ...]
    optional: tuple[str, ...]

    def has(self, *told: str) -> bool:
        return set(told) <= set(self.name.lower().split("_"))

    def takes(self, parameter: str) -> bool:
        return parameter in self.required or parameter in self.optional


def stubs(prompt: str) -> list[Stub]:
    """The functions a prompt shows; empty when it asks for no program."""
    found = []
    for match in _STUB.finditer(prompt):
        parts = [part.strip() for part in match["parameters"].split(",") if part.strip() and part.strip() != "*"]
        optional = tuple(part.split(":")[0].split("=")[0].strip() for part in parts if "=" in part)
        found.append(Stub(match["name"], tuple(part.split(":")[0].strip() for part in parts if "=" not in part), optional))
    return found


def asks_for_program(prompt: str) -> bool:
    return "```python" in prompt and bool(_STUB.search(prompt))


def program(reading: Reading, offered: Sequence[Stub], planner: Planner, complaints: str) -> str:
    """The whole answer: a plan and one ```python block. `complaints` are the messages after an earlier try."""
    order = next((stub for stub in offered if is_read(stub.name) and stub.has("order")), None)
    create = next((stub for stub in offered if stub.has("return") and not stub.has("label") and not is_read(stub.name)), None)
    simpler = bool(_FAILED.search(complaints))
    if order is not None and create is not None and not simpler:
        plan, lines = _return(order, create, offered, reading, planner)
    else:
        plan, lines = _look_up(offered, planner, simpler=simpler)
    steps = "\n".join(f"{number}. {step}" for number, step in enumerate(plan, 1))
    return f"{steps}\n\n```python\n" + "\n".join(lines) + f"\n```\n{STAMP}"


def _return(
    order: Stub, create: Stub, offered: Sequence[Stub], reading: Reading, planner: Planner
) -> tuple[list[str], list[str]]:
    number = planner.fact("order_id")
    if number is None:
        said = f"Please send us the number of the order you want to return, for example #1001. {STAMP}"
        return ["There is no order number, so ask for it."], [
            f"response = {said!r}",
            "summary = 'The customer named no order; asked for the number.'",
            "{'response': response, 'summary': summary, 'status': 'needs_order_number', 'needs_human': False}",
        ]
    label = next((stub for stub in offered if stub.has("label") and stub.takes("return_id")), None)
    mail = next((stub for stub in offered if (stub.has("email") or stub.has("mail")) and not is_read(stub.name)), None)
    address = planner.fact("email")
    window = _WINDOW.search(reading.asked)
    days = int(window[1]) if window else _USUAL_WINDOW_DAYS
    extra = [f"reason={(brief(reading.customer) or 'not stated')!r}"] if create.takes("reason") else []
    resolved = ["resolution='refund'"] if create.takes("resolution") else []
    lines = [
        f"order_id = {number!r}",
        f"email = {address!r}",
        "order = None",
        "status = 'not_found'",
        "response = 'We could not find an order with the number ' + order_id + '. A colleague will look into it with you.'",
        "summary = 'Order ' + order_id + ' was not found; a person has to look at it.'",
        "try:",
        f"    order = {order.name}({order.required[0] if order.required else 'order_id'}=order_id)",
        "except Exception as error:",
        "    summary = 'Order ' + order_id + ' could not be read (' + str(error) + '); a person has to look at it.'",
        "if order is not None:",
        "    state = order.get('status')",
        "    age = order.get('age_days') or 0",
        "    email = email or order.get('customer_email')",
        "    if order.get('returned') or state == 'returned':",
        "        status = 'already_returned'",
        "        known = order.get('return_id') or 'on file'",
        "        response = 'Order #' + order_id + ' has already been returned (return ' + known + '). Nothing is left to do.'",
        "        summary = 'Order ' + order_id + ' was already returned; nothing done.'",
        "    elif state not in (None, 'delivered'):",
        "        status = 'not_returnable'",
        "        response = 'Order #' + order_id + ' has not been delivered (' + str(state).replace('_', ' ')",
        "        response = response + '), so it cannot be returned yet. Please write to us again once you have it.'",
        "        summary = 'Order ' + order_id + ' is ' + str(state) + '; no return made.'",
        f"    elif age >= {days}:",
        "        status = 'store_credit_offered'",
        "        response = 'Order #' + order_id + ' was delivered ' + str(age) + ' days ago.'",
        f"        response = response + ' A refund is possible for {days} days only.'",
        "        response = response + ' We offer you store credit instead: just reply that you want it.'",
        "        summary = 'Order ' + order_id + ' is ' + str(age) + ' days old; offered store credit, no return made.'",
        "    else:",
        "        try:",
        f"            created = {create.name}({', '.join(['order_id=order_id', *extra, *resolved])})",
        "            return_id = created.get('return_id') or ''",
        "            status = 'return_created'",
        "            response = 'Your return ' + return_id + ' for order #' + order_id + ' is registered; you get a refund.'",
        "            summary = 'Return ' + return_id + ' made for order ' + order_id + '.'",
    ]
    if label is not None:
        lines += [
            "            try:",
            f"                label = {label.name}(return_id=return_id)",
            "                response = response + ' Your return label: ' + str(label.get('label_url')) + '.'",
            "            except Exception as error:",
            "                summary = summary + ' No label: ' + str(error)",
        ]
    if mail is not None:
        to = next((name for name in mail.required if "mail" in name or name in ("to", "recipient")), "recipient_email")
        given = [f"{to}=email"] + [f"{name}={_said(name)}" for name in mail.required if name != to]
        lines += [
            "            if email:",
            "                try:",
            f"                    {mail.name}({', '.join(given)})",
            "                    response = response + ' We have sent you the details by e-mail.'",
            "                except Exception as error:",
            "                    summary = summary + ' No e-mail sent: ' + str(error)",
        ]
    lines += [
        "        except Exception as error:",
        "            status = 'failed'",
        "            response = 'We could not register the return of order #' + order_id + ': ' + str(error)",
        "            summary = 'The return of order ' + order_id + ' failed: ' + str(error)",
        f"response = response + ' {STAMP}'",
        "needs_human = status in ('not_found', 'failed')",
        "{'response': response, 'summary': summary, 'status': status, 'order_id': order_id, 'needs_human': needs_human}",
    ]
    plan = [
        f"Read order {number}.",
        "Decide by its state and age.",
        "Register the return, make the label, send the e-mail.",
        "Tell the customer.",
    ]
    return plan, lines


def _said(parameter: str) -> str:
    return "'Your return for order #' + order_id" if parameter in ("subject", "title") else "response"


def _look_up(offered: Sequence[Stub], planner: Planner, *, simpler: bool) -> tuple[list[str], list[str]]:
    """Call each reading function whose parameters are known, and say what it gave."""
    called: list[str] = []
    lines = ["parts = []"]
    for stub in offered:
        if not is_read(stub.name) or not stub.required or len(called) >= (1 if simpler else 4):
            continue
        known = {name: planner.fact(name) for name in stub.required}
        if any(value is None for value in known.values()):
            continue
        called.append(stub.name)
        lines += [
            "try:",
            f"    found = {stub.name}({', '.join(f'{name}={value!r}' for name, value in known.items())})",
            "    for key in found:",
            "        value = found[key]",
            "        if isinstance(value, (str, int, float)) and not isinstance(value, bool):",
            "            parts.append(str(key).replace('_', ' ') + ': ' + str(value))",
            "except Exception as error:",
            "    parts.append('this could not be found: ' + str(error))",
        ]
    nothing = "We have read your message and a colleague will answer it."
    lines += [
        "if parts:",
        "    response = 'This is what we found: ' + '; '.join(parts[:8]) + '.'",
        "else:",
        f"    response = {nothing!r}",
        f"summary = {('Looked up: ' + ', '.join(called)) if called else 'Nothing could be looked up.'!r}",
        f"{{'response': response + ' {STAMP}', 'summary': summary}}",
    ]
    return [f"Call {name}." for name in called] + ["Tell the customer what was found."], lines
