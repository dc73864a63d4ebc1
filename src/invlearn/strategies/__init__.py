"""Strategies: all that differs between the methods under comparison, one file a family."""

from invlearn.strategies.denoising import ReweightedCrossEntropy, TruncatedCrossEntropy
from invlearn.strategies.influence import InverseGradientPerPair
from invlearn.strategies.inverse import InverseDual, InverseGradient
from invlearn.strategies.plain import LabelledOnly, NegativeSampling
from invlearn.strategies.released import InverseGradientAsReleased
from invlearn.strategies.strategy import LossStrategy, Strategy

__all__ = ["STRATEGIES", "LossStrategy", "Strategy"]

STRATEGIES: dict[str, type[Strategy]] = {
    "none": LabelledOnly,
    "ns": NegativeSampling,
    "t-ce": TruncatedCrossEntropy,
    "r-ce": ReweightedCrossEntropy,
    "idl": InverseDual,
    "ig": InverseGradient,
    "ig-sample": InverseGradientPerPair,
    "ig-as-released": InverseGradientAsReleased,
}
"""Every strategy by the name that the command line, the files and the tables use."""
