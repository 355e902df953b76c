"""Attention rollout names tokens whose removal matters more than chance."""

from claims.attribution._soft_nc import claimed
from trivium.attribution.attention_rollout import AttentionRollout

claim = claimed(AttentionRollout(), "What attention rollout names matters more than chance on a pretrained model.")
