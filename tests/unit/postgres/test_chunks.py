"""Documents in pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from connectors.postgres.chunks import MAX_HEADING, WORDS, Chunk, chunks, title_of


def test_paragraphs_stay_together_under_their_headings() -> None:
    text = "Before.\n\n# Returns\n\nOne.\nStill one.\n\nTwo.\n\n## Labels ##\n\nThree.\n\n# Other\n\nFour.\n"
    assert chunks(text) == [
        Chunk("", "Before."),
        Chunk("Returns", "One.\nStill one.\n\nTwo."),
        Chunk("Returns › Labels", "Three."),
        Chunk("Other", "Four."),
    ]


def test_a_full_chunk_ends_before_the_paragraph_that_does_not_fit() -> None:
    paragraph = "word " * 120
    assert [len(chunk.text.split()) for chunk in chunks(f"{paragraph}\n\n{paragraph}\n\nshort")] == [120, 121]


def test_a_long_paragraph_is_cut_between_sentences() -> None:
    sentence = "This is a sentence of exactly ten words, no more. "
    pieces = chunks(sentence * 50)
    assert len(pieces) > 1
    assert all(piece.text.endswith("no more.") for piece in pieces)


def test_a_hash_in_code_is_no_heading() -> None:
    text = "# Setup\n\n```sh\n# not a heading\n\nmake run\n```\n"
    assert chunks(text) == [Chunk("Setup", "```sh\n# not a heading\n\nmake run\n```")]
    assert title_of("```\n# no\n```\n# Yes\n", "file.md") == "Yes"
    assert title_of("plain", "file.md") == "file.md"


def test_windows_line_ends_make_no_difference() -> None:
    text = "# A\n\nOne.\n\nTwo.\n"
    assert chunks(text.replace("\n", "\r\n")) == chunks(text)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1, max_size=60), max_size=600))
def test_no_word_is_lost_and_no_chunk_is_unbounded(words: list[str]) -> None:
    text = "x " + " ".join(words)
    pieces = chunks(text)
    assert "".join(piece.text for piece in pieces).replace(" ", "") == text.replace(" ", "")
    assert all(len(piece.text.split()) <= WORDS and len(piece.text) <= WORDS * 20 for piece in pieces)


def test_text_without_spaces_is_cut_too() -> None:
    pieces = chunks("信" * 20_000)
    assert [len(piece.text) for piece in pieces] == [4_000] * 5


def test_chinese_is_cut_between_its_sentences() -> None:
    pieces = chunks("您可以在三十天内退货。" * 1_000)
    assert len(pieces) > 1
    assert all(piece.text.endswith("。") for piece in pieces)


def test_a_heading_is_repeated_with_its_chunks_and_so_is_short() -> None:
    found = chunks("# " + "h" * 100_000 + "\n\n" + "word " * 150 + "\n\n" + "word " * 150)
    assert [len(chunk.heading) for chunk in found] == [MAX_HEADING, MAX_HEADING]


def test_no_line_takes_longer_than_it_is_long() -> None:
    """Each of these took hours, as the square of its length."""
    for line in ("# " + " " * 1_000_000 + "x", "# " + "#" * 1_000_000 + "x", "# " + " #" * 500_000 + "x"):
        assert chunks(f"{line}\n\ntext")[0].text == "text"
