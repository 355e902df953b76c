"""The norm of the gradient names tokens whose removal matters more than chance."""

from claims.attribution._soft_nc import claimed
from trivium.attribution.gradient_norm import GradientNorm

claim = claimed(GradientNorm(), "What the norm of the gradient names matters more than chance on a pretrained model.")
