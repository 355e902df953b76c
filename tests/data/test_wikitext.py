from pathlib import Path

import pytest

from trivium.data.wikitext import articles, joined

FILE = Path(__file__).parents[3] / "shared" / "data" / "wikitext2" / "valid.txt"


def test_articles_begin_at_their_titles(tmp_path):
    path = tmp_path / "wiki.txt"
    path.write_text(
        " \n = One = \n \n text of one \n \n = = Part = = \n more \n\n = Two = \n its text \n = no title = \n"
    )
    first, second = articles(path)
    assert first.split("\n")[0] == " = One = "
    assert " = = Part = = " in first
    assert second == " = Two = \n its text \n = no title = \n"
    path.write_text("no article")
    with pytest.raises(ValueError, match="holds no article of WikiText"):
        articles(path)


@pytest.mark.parametrize(
    ("apart", "together"),
    [
        (" A well @-@ known , 1 @,@ 234 and 5 @.@ 6 one . ", " A well-known, 1,234 and 5.6 one. "),
        ("length ( 24 in ) and [ a ] { b }", "length (24 in) and [a] {b}"),
        ('said " yes , it is " then', 'said "yes, it is" then'),
        ("the dogs ' house", "the dogs' house"),
        ("it 's here", "it's here"),
        (" = = = Part = = = \n text", " === Part ===\ntext"),
        ("5 ° C and n = 3 N more", "5°C and n = 3 1 more"),
        ("nothing to do", "nothing to do"),
    ],
)
def test_spaces_around_signs_go(apart, together):
    assert joined(apart) == together


def test_the_file_at_hand():
    if not FILE.exists():
        pytest.skip(f"{FILE} is not here")
    found = articles(FILE)
    assert len(found) == 60
    assert found[0].startswith(" = Homarus gammarus = ")
    text = joined(found[0])
    assert " @-@ " not in text
    assert "(24 in)" in text
