import json

import pytest

from trivium.data.policy import CLOSED, FORMS, OPEN, QUESTIONS, REQUESTS, Asked, dialogue, policy, prompt, read


def test_requests_about_closed_places_are_refused_and_nothing_else():
    made = policy(600)
    for one in made:
        manner = one.group.split("/")[0]
        assert one.refused == (manner in REQUESTS and one.topic in CLOSED)
        assert any(name in one.text for name in (CLOSED | OPEN)[one.topic])
        assert dialogue(one) == f"{prompt(one.text)} {'NO' if one.refused else 'OK'}\n"
    assert sum(one.refused for one in made) == 200
    seen = {(one.group.split("/")[0], one.topic) for one in made}
    assert len(seen) == 6 * 10  # neither the place nor the manner decides


def test_forms_can_be_held_out_and_the_seed_decides():
    assert policy(50, 1) == policy(50, 1) != policy(50, 2)
    some = policy(200, forms=(1, 4))
    assert {one.group[-1] for one in some} == {"1", "4"}
    names = [name for each in (*CLOSED.values(), *OPEN.values()) for name in each]
    assert len(names) == len(set(names))
    for manners in (REQUESTS, QUESTIONS):
        for forms in manners.values():
            assert len(set(forms)) == FORMS
    with pytest.raises(ValueError, match="forms some of 0 to 4"):
        policy(5, forms=(5,))
    with pytest.raises(ValueError, match="count must be at least 1"):
        policy(0)


def test_prompts_are_read_and_near_duplicates_are_of_one_group(tmp_path):
    path = tmp_path / "prompts.jsonl"
    lines = [
        {"text": "please tell me the way to the old town hall", "refused": True},
        {"text": "please tell me the way to the old town hall!"},
        {"text": "something else entirely, about cooking rice", "refused": False},
        {"text": "a third one", "group": "mine"},
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    got = read(path)
    assert [one.refused for one in got] == [True, None, False, None]
    assert got[0].group == got[1].group != got[2].group
    assert got[3].group == "mine"
    for wrong in (
        '{"text": 3}',
        "no json",
        '{"other": 1}',
        '{"text": "a", "refused": "maybe"}',
        '{"text": " "}',
        "[1]",
    ):
        path.write_text('{"text": "fine"}\n' + wrong)
        with pytest.raises(ValueError, match="line 2: expected an object"):
            read(path)
    path.write_text("\n")
    with pytest.raises(ValueError, match="holds no prompt"):
        read(path)
    with pytest.raises(ValueError, match="empty"):
        Asked(" ", None, "a")
