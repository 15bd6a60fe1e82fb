"""Tags that hold foreign text in a prompt, such as `<message>…</message>`: nothing printed into a prompt can open or close one.

What a reader might take for such a tag (spaces, other case, look-alikes, a half whose rest could follow) loses its `<`. All else
stays as it was written, and the same text always comes out the same way.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

OURS = frozenset(
    {
        "message",
        "conversation_history",
        "knowledge_base",
        # what models take for the voices of a conversation
        "system",
        "assistant",
        "user",
        "human",
        "developer",
        "tool",
        "function_results",
        "instructions",
    }
)
"""Guarded in every prompt, beside the tags that its author wrote."""
OPENS = "<\uff1c\ufe64\u2039\u2329\u3008\u27e8\u02c2\u1438\u276e\u227a\u276c\u29fc\U0001d236"
"""`<`, and what looks like it."""
_OPEN = re.compile(f"[{OPENS}]")
_TAG = re.compile(r"</?\s*([A-Za-z][\w:.-]*)")
MANY = 2_000
"""Beyond so many `<` none of them is looked at: all are escaped, which takes no time."""
_AHEAD = 200
"""Characters behind a `<` that are looked at."""
_END = re.compile("[>\uff1e\ufe65\u203a\u232a\u3009\u27e9=\"']")
"""Where a tag's name has ended."""
_NOISE = re.compile(r"(?:\\[nrtbf]|[\W_])+?")
"""What stands between the letters of a name as it looks; a line feed in JSON, too."""
_LOOKS_LIKE = (
    # Cyrillic, Greek and Armenian letters that are drawn as Latin ones
    "а a|е e|о o|р p|с c|у y|х x|ѕ s|і i|ј j|һ h|ԁ d|ԛ q|ԝ w|ѵ v|к k|м m|т t|в b|н h|ӏ l|п n|г r|ɡ g|ı i|ʏ y|"
    "ꜱ s|ᴀ a|ɢ g|0 o|1 l|5 s|3 e|$ s|@ a|"
    "α a|ε e|ο o|ρ p|τ t|υ u|χ x|κ k|ι i|ν v|η n|μ m|ѡ w|ω w|ϲ c|ս u|օ o|ո n|հ h|ց g|ʜ h|ᴍ m|ᴇ e"
)
_ALIKE = {ord(pair[0]): pair[-1] for pair in _LOOKS_LIKE.split("|")}
ESCAPED = "&lt;"


def tags_of(source: str) -> frozenset[str]:
    """The names of the tags that an author wrote into a template."""
    return frozenset(_skeleton(name) for name in _TAG.findall(source)) - {""}


def inert(text: str, guarded: frozenset[str] = frozenset()) -> str:
    """`text` without anything that a reader could take for one of OURS or of the `guarded` tags."""
    found = len(_OPEN.findall(text))
    if not found:
        return text
    if found > MANY:
        return _OPEN.sub(ESCAPED, text)
    names = _guarded(guarded)
    return _OPEN.sub(lambda found: ESCAPED if _begins_tag(text, found.end(), names) else found[0], text)


def entry(label: str, text: str) -> str:
    """One line of a listing, `label: text`. What follows its first line is indented, so that none passes for another entry."""
    return f"{' '.join(label.split())}: {_LINES.sub(chr(10) + '  ', text)}"


_LINES = re.compile("\r\n|[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")


@lru_cache(maxsize=1024)
def _guarded(given: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted({skeleton for name in given | OURS if (skeleton := _skeleton(name))}))


def _begins_tag(text: str, at: int, names: tuple[str, ...]) -> bool:
    following = _OPEN.search(text, at, at + _AHEAD)
    ahead = text[at : following.start() if following else at + _AHEAD]
    ended = _END.search(ahead)
    word = _skeleton(ahead[: ended.start()] if ended else ahead)
    # What is printed next may go on with what could become a tag.
    open_end = ended is None and at + len(ahead) == len(text)
    return any(word.startswith(name) or (open_end and name.startswith(word)) for name in names)


def _skeleton(text: str) -> str:
    """Letters and digits alone, as they look: no case, no accents, nothing between them."""
    if text.isascii() and text.isalpha():
        return text.lower()
    return _NOISE.sub("", unicodedata.normalize("NFKD", text).casefold().translate(_ALIKE))
