"""Strategies: the learning methods under comparison, one file per family."""

from invlearn.strategies.agreement import CoTeaching, CrossModelAgreement
from invlearn.strategies.denoising import ReweightedCrossEntropy, TruncatedCrossEntropy
from invlearn.strategies.double_correction import DoubleCorrection
from invlearn.strategies.history import RankWeighted, ResampledPositives, UserTemperature
from invlearn.strategies.influence import InverseGradientPerPair
from invlearn.strategies.inverse import InverseDual, InverseGradient
from invlearn.strategies.plain import LabelledOnly, NegativeSampling
from invlearn.strategies.positive_unlabelled import NonNegativePU, RelevanceMF
from invlearn.strategies.semi_supervised import EntropyMinimization, PseudoLabel
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
    "entropy": EntropyMinimization,
    "pseudo-label": PseudoLabel,
    "nnpu": NonNegativePU,
    "rel-mf": RelevanceMF,
    "co-teaching": CoTeaching,
    "deca": CrossModelAgreement,
    "dcf": DoubleCorrection,
    "eard": RankWeighted,
    "udt": UserTemperature,
    "pld": ResampledPositives,
}
"""Strategy classes by their names on the command line, in files and in tables."""
