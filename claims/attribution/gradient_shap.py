"""Gradient SHAP names tokens whose removal matters more than chance."""

from claims.attribution._soft_nc import claimed
from trivium.attribution.gradient_shap import GradientShap

claim = claimed(GradientShap(), "What gradient SHAP names matters more than chance on a pretrained model.")
