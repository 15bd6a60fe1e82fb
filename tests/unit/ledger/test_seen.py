"""An event that was put on its topic twice counts once; a record that is delivered twice is no such event."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.ledger.seen import PAGE, PAGES, Seen


def test_the_same_id_at_another_offset_is_a_repeat():
    seen = Seen()
    seen.note("a", 5)
    assert seen.repeated("a", 9)
    assert not seen.repeated("b", 9)


def test_the_same_record_delivered_again_is_none():
    """Whether it counts is for the row to say: it may be in the pages of a transaction whose rows were never written."""
    seen = Seen()
    seen.note("a", 5)
    assert not seen.repeated("a", 5)


@given(st.dictionaries(st.integers(0, 3 * PAGE), st.text(min_size=1), max_size=20))
def test_what_is_restored_knows_the_same(noted: dict[int, str]):
    ids = {text: offset for offset, text in sorted(noted.items(), reverse=True)}
    seen = Seen()
    pages = {seen.note(text, offset)[0] for text, offset in sorted(ids.items(), key=lambda item: item[1])}
    again = Seen((page, seen.page(page)) for page in pages)
    for text, offset in ids.items():
        assert again.repeated(text, offset + 10 * PAGE)
        assert not again.repeated(text, offset)


def test_it_forgets_the_oldest_page_whole_and_says_so():
    seen = Seen()
    seen.note("first", 0)
    for page in range(1, PAGES):
        assert seen.note(f"p-{page}", page * PAGE) == (page, [])
    assert seen.repeated("first", PAGES * PAGE - 1)
    assert seen.note("last", PAGES * PAGE) == (PAGES, [0])
    assert not seen.repeated("first", PAGES * PAGE + 1)
    assert seen.repeated("p-1", PAGES * PAGE + 1)
