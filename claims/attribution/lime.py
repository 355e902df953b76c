"""LIME names tokens whose removal matters more than chance."""

from claims.attribution._soft_nc import claimed
from trivium.attribution.lime import Lime

claim = claimed(Lime(), "What LIME names matters more than chance on a pretrained model.")
