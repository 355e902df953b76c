"""Mean attention names tokens whose removal matters more than chance."""

from claims.attribution._soft_nc import claimed
from trivium.attribution.attention import Attention

claim = claimed(
    Attention(), "What the mean attention of the last position names matters more than chance on a pretrained model."
)
