"""The last layer's attention names tokens whose removal matters more than chance."""

from claims.attribution._soft_nc import claimed
from trivium.attribution.last_attention import LastAttention

claim = claimed(
    LastAttention(), "What the last layer's attention names matters more than chance on a pretrained model."
)
