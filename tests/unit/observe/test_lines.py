"""Lines out of chunks that are cut anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool.observe.line_splitter import LineSplitter, LineTooLongError


@given(
    lines=st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"."))),
    cuts=st.lists(st.integers(min_value=1, max_value=50)),
)
def test_lines_come_out_the_same_wherever_the_bytes_are_cut(lines: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(line + b"\n" for line in lines)
    splitter, found, start = LineSplitter(), [], 0
    for size in [*cuts, len(whole)]:
        found += splitter.feed(whole[start : start + size])
        start += size
    assert found == [line for line in lines if line]


def test_a_line_without_its_end_is_not_given_out() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"half a li") == []
    assert splitter.feed(b"ne\nnext") == [b"half a line"]
    assert splitter.feed(b"\n") == [b"next"]


def test_a_stream_that_never_ends_a_line_is_given_up() -> None:
    splitter = LineSplitter(max_line=10)
    splitter.feed(b"12345")
    with pytest.raises(LineTooLongError):
        splitter.feed(b"678901")
