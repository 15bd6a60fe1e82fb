"""What a hostile or broken model may say: programs that attack the sandbox and its host, and answers that attack their reader."""

from __future__ import annotations

import json

COLLIDING = "(2**61 - 1)"
"""Integers that are multiples of it have the same hash in CPython: a dictionary of n of them takes n² steps to build."""

PROGRAMS: dict[str, str] = {
    "colliding_dict": f"out = {{}}\nfor i in range(100000):\n    out[i * {COLLIDING}] = 1\nout",
    "colliding_result": f'{{"response": "x", "summary": "y", "data": {{str(i): i * {COLLIDING} for i in range(50000)}}}}',
    "colliding_keys": f'{{"response": "x", "summary": "y", "data": {{i * {COLLIDING}: i for i in range(30000)}}}}',
    "colliding_set": f"s = set()\nfor i in range(100000):\n    s.add(i * {COLLIDING})\n"
    f"{{'response': 'x', 'summary': str(len(s))}}",
    "endless": "while True:\n    pass",
    "endless_sleep": "import time\nwhile True:\n    time.sleep(1)",
    "endless_print": "while True:\n    print('x' * 1000)",
    "endless_calls": "while True:\n    try:\n        shopify_get_order(order_id='1001')\n    except Exception:\n        pass",
    "recursion": "def f(n):\n    return f(n + 1) + f(n + 2)\nf(0)",
    "deep_recursion": "def f():\n    return f()\nf()",
    "memory_list": "x = [0]\nwhile True:\n    x = x + x",
    "memory_string": "x = 'a' * 1000\nwhile True:\n    x = x + x",
    "memory_int": "x = 2\nwhile True:\n    x = x * x",
    "power": "10 ** 10 ** 10",
    "int_to_text": "{'response': str(10 ** 100000), 'summary': 'x'}",
    "huge_result": "{'response': 'x' * 30_000_000, 'summary': 'y'}",
    "huge_list": "{'response': 'x', 'summary': 'y', 'data': [[i] for i in range(500000)]}",
    "deep_result": "x = []\nfor _ in range(100000):\n    x = [x]\n{'response': 'x', 'summary': 'y', 'data': x}",
    "shared_result": "x = ['a' * 1000]\nfor _ in range(40):\n    x = [x, x]\n{'response': 'x', 'summary': 'y', 'data': x}",
    "own_member": "x = {}\nx['x'] = x\n{'response': 'x', 'summary': 'y', 'data': x}",
    "not_json": "{'response': 'x', 'summary': 'y', 'data': {1, 2}, 'bytes': b'abc', 'none': None, (1, 2): 3}",
    "nan": "{'response': 'x', 'summary': 'y', 'data': [float('nan'), float('inf'), -0.0, 1e308 * 10]}",
    "big_number": "{'response': 'x', 'summary': 'y', 'data': 10 ** 4000}",
    "surrogates": "{'response': '\\ud800', 'summary': '\\udfff'}",
    "control": "{'response': '\\x1b[31mred\\x1b[0m\\x00\\x07', 'summary': '\\u202e'}",
    "no_result": "x = 1",
    "empty_response": "{'response': '', 'summary': ''}",
    "number_result": "42",
    "open_file": "open('/etc/passwd').read()",
    "import_os": "import os\nos.environ",
    "import_sys": "import sys\nsys.exit(1)",
    "import_socket": "import socket\nsocket.socket()",
    "eval": "eval('__import__(\"os\").environ')",
    "classes": "().__class__.__base__.__subclasses__()",
    "exception_args": "raise Exception('x' * 10_000_000)",
    "raise_in_text": "raise ValueError('\\n'.join(str(i) for i in range(100000)))",
    "regex": "import re\nre.match('(a+)+$', 'a' * 40 + 'b')",
    "json_deep": "import json\njson.loads('[' * 100000)",
    "json_huge": "import json\njson.loads('[' + '1,' * 5000000 + '1]')",
    "format": "'{:>1000000000}'.format('x')",
    "percent": "'%1000000000d' % 1",
    "fstring": "x = 1\nf'{x:1000000000}'",
    "huge_argument": "shopify_get_order(order_id='x' * 20_000_000)",
    "many_arguments": "shopify_get_order(**{f'a{i}': i for i in range(10000)})",
    "wrong_arguments": "shopify_get_order([1, 2], {'x': {1}}, order_id=None)",
    "deep_argument": "x = []\nfor _ in range(50000):\n    x = [x]\nshopify_get_order(order_id=x)",
    "colliding_argument": f"shopify_get_order(order_id={{i * {COLLIDING}: 1 for i in range(20000)}})",
    "many_results": "total = ''\nfor i in range(48):\n    try:\n        total += str(shopify_get_order(order_id='x' * 190000))\n"
    "    except Exception as error:\n        total += str(error)\n{'response': total, 'summary': 'x'}",
    "unknown_tool": "launch_rockets(1)",
    "shadowing": "def shopify_get_order(order_id):\n    return {'order': 'forged'}\n{'response': 'x', 'summary': 'y'}",
    "syntax": "def (:",
    "nul": "x = '\x00'\n{'response': x, 'summary': x}",
    "nested_source": "(" * 5000 + ")" * 5000,
    "long_source": "x = 1\n" * 200_000 + "{'response': 'x', 'summary': 'y'}",
    "many_names": "\n".join(f"x{i} = {i}" for i in range(20000)) + "\n{'response': 'x', 'summary': 'y'}",
    "async": "await shopify_get_order(order_id='1')",
    "generator": "def g():\n    while True:\n        yield 1\nlist(g())",
    "sort": "sorted(list(range(5000000)), key=lambda x: -x)[0]",
    "join": "','.join(['x' * 1000] * 1000000)",
    "replace": "('a' * 100000).replace('a', 'b' * 100000)",
    "quadratic_in": "('a' * 200000 + 'b') in ('a' * 20000000)",
}


def _reply(**message: object) -> bytes:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}
    used = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return json.dumps(
        {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": used}
    ).encode()


ANSWERS: dict[str, str | bytes] = {
    "nothing": "",
    "spaces": " \n\t ",
    "escapes": "\x1b[2J\x1b]0;owned\x07\u202eabc\u2066\x00\x9b31m",
    "long": "x" * 5_000_000,
    "markup": "[red]x[/red] [link=http://x.invalid]y[/link]",
    "deep_json": "[" * 50_000 + "]" * 50_000,
    "many_digits": '{"intent": ' + "9" * 900_000 + "}",
    "duplicate_keys": '{"intent": "a", "intent": "b"}',
    "fences": "```json\n" * 20_000,
    "thoughts": "<think></think>" * 100_000,
    "ends_of_thoughts": "</think>" * 100_000,
    "many_values": "```\n{\n```\n" * 100_000,
    "no_json": b"this is no JSON",
    "empty_body": b"",
    "list_body": b"[1, 2, 3]",
    "null_body": b"null",
    "number_body": b"1e999",
    "no_choices": b'{"choices": [], "usage": null}',
    "null_choice": b'{"choices": [null]}',
    "null_message": b'{"choices": [{"message": null, "finish_reason": null}]}',
    "usage_text": b'{"choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}], "usage": "many"}',
    "usage_negative": b'{"choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}], '
    b'"usage": {"prompt_tokens": -5, "completion_tokens": -7, "total_tokens": -12}}',
    "usage_huge": b'{"choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}], '
    b'"usage": {"prompt_tokens": 1' + b"0" * 400 + b', "completion_tokens": 1e300, "total_tokens": 1}}',
    "content_list": _reply(content=[{"type": "text", "text": "a"}, {"type": "evil", "x": 1}]),
    "content_number": _reply(content=7),
    "calls_text": _reply(content=None, tool_calls="none"),
    "calls_null": _reply(content=None, tool_calls=[None, {}, {"function": None}]),
    "calls_many": _reply(
        content=None,
        tool_calls=[{"id": "x", "type": "function", "function": {"name": "shopify_get_order", "arguments": "{}"}}] * 3000,
    ),
    "call_huge": _reply(
        content=None,
        tool_calls=[
            {
                "id": "x",
                "type": "function",
                "function": {"name": "shopify_get_order", "arguments": '{"order_id": "' + "x" * 3_000_000 + '"}'},
            }
        ],
    ),
    "lone_surrogate": b'{"choices": [{"message": {"role": "assistant", "content": "\\ud800"}, "finish_reason": "stop"}]}',
    "big_body": b'{"choices": [{"message": {"role": "assistant", "content": "'
    + b"y" * 20_000_000
    + b'"}, "finish_reason": "stop"}]}',
}
