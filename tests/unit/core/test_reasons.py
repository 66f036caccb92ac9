"""Reasons are a closed set: each has a word and a sentence, and everything decided has one."""

import re

import pytest

from computepool.model.reasons import Reason, reason_of


@pytest.mark.parametrize("reason", list(Reason), ids=str)
def test_a_reason_is_one_word_in_camel_case_and_one_sentence(reason: Reason) -> None:
    assert re.fullmatch(r"([A-Z][a-z]+)+", reason.value)
    assert reason.name == re.sub(r"(?<=[a-z])(?=[A-Z])", "_", reason.value).upper()
    assert reason.help.endswith(".")
    assert str(reason) == reason.value == f"{reason}"


def test_sentences_tell_reasons_apart() -> None:
    assert len({reason.help for reason in Reason}) == len(Reason)


def test_a_reason_is_found_by_its_word_and_nothing_else_is() -> None:
    assert reason_of("NoRoom") is Reason.NO_ROOM
    with pytest.raises(ValueError, match="'NO_ROOM' is no reason"):
        reason_of("NO_ROOM")


def test_no_reason_can_be_made_up() -> None:
    with pytest.raises(ValueError, match="is not a valid Reason"):
        Reason("Because")  # type: ignore[call-arg]
