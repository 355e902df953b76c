"""Words as those write them who do not know how they are spelt, and as a recogniser of speech may hear them."""

from collections.abc import Mapping


def _table(text: str) -> Mapping[str, str]:
    return dict(pair.split(":") for pair in text.split())


WRONG = _table("""
    restaurant:restaraunt tomorrow:tommorow weather:wheather friday:fryday wednesday:wensday table:tabel
    favourite:favorate birthday:brithday album:albumn please:pleese reservation:resevation breakfast:brekfast
    tonight:tonite morning:mourning evening:evning people:poeple neighbours:nieghbours which:wich because:becuase
    would:woud could:coud want:whant listen:lissen remind:remmind forecast:forcast weekend:weakend popular:populer
    january:januery batteries:battries honey:hunny country:contry radio:raido artist:artest music:musik
    playlist:playlest latest:lattest newest:newist quiet:queit cheap:cheep family:famly thirty:thurty
""")
"""Common misspellings of words that requests have."""
RULES = (("ie", "ei"), ("ei", "ie"), ("ph", "f"), ("ck", "k"), ("ough", "uff"), ("tion", "shun"), ("ea", "ee"),
         ("ll", "l"), ("tt", "t"), ("ss", "s"), ("nn", "n"), ("pp", "p"), ("er", "ar"), ("or", "er"), ("a", "e"),
         ("e", "a"), ("i", "e"), ("o", "u"), ("u", "o"))  # fmt: skip
"""How words that are in no table are misspelt: the first pair whose first member is in the word, behind its start."""

HEARD = _table("""
    to:two two:to for:four four:for by:buy buy:by the:da there:their their:there weather:whether whether:weather know:no
    no:know hear:here here:hear right:write write:right rain:reign eight:ate ate:eight one:won won:one sea:see i:eye
    be:bee in:inn would:wood night:knight blue:blew our:hour hour:our pair:pear new:knew read:red red:read week:weak
    pints:pines milk:mill rent:rant tune:toon folk:foke jazz:jas harbour:harbor morning:mourning cheap:cheep quiet:quite
    tonight:to_night playlist:play_list into:in_to weekend:week_end birthday:birth_day breakfast:break_fast
    without:with_out album:al_bum restaurant:rest_around forecast:four_cast tomorrow:to_morrow reggae:ray_gay
    dentist:dent_is candles:can_dolls remind:re_mind reservation:reserve_asian latest:late_is newest:new_is
    popular:pop_you_are evening:even_ing radio:ray_dio neighbours:nay_bores sister:sis_tar people:pee_pole
""")
"""Word -> what a recogniser may hear instead; several words where it cuts one in two."""


def like(word: str, changed: str) -> str:
    """With the capital, if any, that the word had."""
    return changed[:1].upper() + changed[1:] if word[:1].isupper() else changed


def misspelt(word: str) -> str:
    """As someone writes it who does not know how it is spelt. Short words that are in no table stay."""
    lower = word.lower()
    if lower in WRONG:
        return like(word, WRONG[lower])
    for right, wrong in RULES:
        at = lower.find(right, 1)
        if at > 0 and len(word) > 3:
            return word[:at] + wrong + word[at + len(right) :]
    return word
