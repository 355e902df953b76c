from collections import Counter

import pytest

from trivium.data.prompts import prompts


def test_five_of_each_kind_to_compare_on_and_others_to_tune_on():
    assert Counter(prompt.fields["kind"] for prompt in prompts()) == {"copy": 5, "chat": 5, "code": 5}
    assert Counter(prompt.fields["kind"] for prompt in prompts("validation")) == {"copy": 5, "chat": 5, "code": 5}


def test_ids_are_unique_and_splits_apart():
    both = [*prompts("test"), *prompts("validation")]
    assert len({prompt.id for prompt in both}) == len({prompt.text for prompt in both}) == len(both)


def test_they_are_messages_for_a_chat_template():
    assert all(prompt.fields["chat"] and prompt.text == prompt.text.strip() for prompt in prompts())


def test_copy_prompts_hold_enough_to_copy():
    assert all(len(prompt.text) > 350 for prompt in prompts() if prompt.fields["kind"] == "copy")


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match="test, validation, got 'train'"):
        prompts("train")
