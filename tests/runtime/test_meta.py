"""Shapes of modules on the meta device, without torch's compiler."""

import pytest
import torch

from invlearn.backbones import BACKBONES
from invlearn.runtime.meta import ShapesOnly


@pytest.mark.parametrize("backbone", BACKBONES)
def test_shapes_are_those_of_a_real_backbone(backbone):
    with ShapesOnly(), torch.device("meta"):
        shapes = BACKBONES[backbone](5, 7)
    real = BACKBONES[backbone](5, 7)
    for kind in ("named_parameters", "named_buffers"):
        found, expected = (dict(getattr(module, kind)()) for module in (shapes, real))
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            assert (found[name].shape, found[name].dtype) == (tensor.shape, tensor.dtype)
            assert found[name].requires_grad == tensor.requires_grad


def test_what_makes_values():
    with ShapesOnly(), torch.device("meta"):
        found = [
            torch.rand(2, 3),
            torch.eye(2, 3),
            torch.ones(2, 3) * 0.5,
            0.5 * torch.randn(size=(2, 3)),
            torch.empty(2, 3).uniform_(),
        ]
        assert torch.arange(2, 8, 3).shape == (2,)
    assert {tensor.shape for tensor in found} == {(2, 3)}
    assert all(tensor.is_meta for tensor in found)
