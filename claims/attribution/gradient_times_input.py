"""Gradient × input names tokens whose removal matters, though it need not find the decisive one."""

from claims.attribution._soft_nc import claimed
from trivium.attribution.gradient_times_input import GradientTimesInput

claim = claimed(GradientTimesInput(), "What gradient × input names matters more than chance on a pretrained model.")
