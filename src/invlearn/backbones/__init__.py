"""Backbones: models that map pairs to logits, one file per family."""

from torch import nn

from invlearn.backbones.backbone import Backbone
from invlearn.backbones.deepfm import DeepFM
from invlearn.backbones.exposure_hybrid.hybrid import ExposureHybrid
from invlearn.backbones.factorization import GMF, BiasedMF
from invlearn.backbones.graph import LightGCN
from invlearn.backbones.histories import SVDpp
from invlearn.backbones.neural import MLP, NeuMF
from invlearn.backbones.two_tower import TwoTower
from invlearn.backbones.wide_deep import WideDeep

__all__ = ["BACKBONES", "Backbone"]

BACKBONES: dict[str, type[nn.Module]] = {
    "gmf": GMF,
    "mf": BiasedMF,
    "mlp": MLP,
    "neumf": NeuMF,
    "deepfm": DeepFM,
    "two-tower": TwoTower,
    "svdpp": SVDpp,
    "lightgcn": LightGCN,
    "exposure-hybrid": ExposureHybrid,
    "wide-deep": WideDeep,
}
"""Backbone classes by their names on the command line, in files and in tables."""
