"""Losses of binary feedback, from logits.

Every function maps logits `z` of shape `(pairs,)` to one loss per pair; the caller masks, weights
and averages. `l1` and `l0` are the losses of `z` under the label 1
and the label 0, as in the paper (Lin et al., WSDM 2024). All are finite for every finite `z`.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def positive_loss(logits: Tensor) -> Tensor:
    """Return the loss `l1 = log(1 + exp(-z))` of each logit for label 1, shape `(pairs,)`."""
    return -logsigmoid(logits)


def negative_loss(logits: Tensor) -> Tensor:
    """Return the loss `l0 = log(1 + exp(z))` of each logit for label 0, shape `(pairs,)`."""
    return -logsigmoid(-logits)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the log loss of each labelled pair (Eq. 1): `y l1 + (1 - y) l0`.

    Args:
        logits: Shape `(pairs,)`.
        labels: 1.0 or 0.0, shape `(pairs,)`.

    Example:
        >>> cross_entropy(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.0]))
        tensor([0.6931, 2.1269])
    """
    return labels * positive_loss(logits) + (1 - labels) * negative_loss(logits)


def belief_in_positive(logits: Tensor, evidence: Tensor | float = 0.0) -> Tensor:
    """Compute the belief that each unlabelled pair is positive: the weight `w1` of Eq. (4).

    A label gets weight when the loss of the *other* label is large: with `r = l0 / l1`,
    `w1 = r / (r + 1/r)`, which equals `sigmoid(2 log r)` and needs no small constant against
    division by zero. The weight of the label 0 is `w0 = 1 - w1`.

    Args:
        logits: Shape `(pairs,)`.
        evidence: Added to the log odds `2 log r` of the belief, shape `(pairs,)`; 0 in the paper.

    Returns:
        Weights in [0, 1], shape `(pairs,)`; constants to autograd.

    Example:
        >>> belief_in_positive(torch.tensor([-1.0, 0.0, 1.0]))
        tensor([0.0538, 0.5000, 0.9462])
    """
    z = logits.detach()
    return torch.sigmoid(2 * (_log_negative_loss(z) - _log_negative_loss(-z)) + evidence)


def soft_gradient(logits: Tensor, belief: Tensor) -> Tensor:
    """Compute the derivative by the logit of `w1 l1 + w0 l0`: `sigmoid(z) - w1`.

    Args:
        logits: Shape `(pairs,)`.
        belief: Fixed weight `w1` of the label 1, shape `(pairs,)`; `w0 = 1 - w1`.

    Example:
        >>> z = torch.tensor([-1.0, 0.0, 1.0])
        >>> soft_gradient(z, belief_in_positive(z))
        tensor([ 0.2151,  0.0000, -0.2151])
    """
    return torch.sigmoid(logits.detach()) - belief


def inverse_dual_loss(logits: Tensor) -> Tensor:
    """Compute the loss of unlabelled pairs: both labels, weighted by belief (Eq. 4).

    Its gradient moves every logit away from zero, so it reinforces the model's beliefs and cannot
    correct a wrong one; `invlearn.strategies.inverse` can.

    Args:
        logits: Shape `(pairs,)`.

    Returns:
        One loss per pair, at most log 2, reached at `z = 0`.

    Example:
        >>> inverse_dual_loss(torch.tensor([0.0, 4.0, -4.0]))
        tensor([0.6931, 0.0182, 0.0182])
    """
    w1 = belief_in_positive(logits)
    return w1 * positive_loss(logits) + (1 - w1) * negative_loss(logits)


def entropy(logits: Tensor) -> Tensor:
    """Compute the predicted label's entropy in nats: `p l1 + (1 - p) l0`, `p = sigmoid(z)`.

    Args:
        logits: Shape `(pairs,)`.

    Returns:
        Values in [0, log 2], shape `(pairs,)`; `p` is differentiated, too.

    Example:
        >>> entropy(torch.tensor([0.0, 4.0, -4.0]))
        tensor([0.6931, 0.0901, 0.0901])
    """
    p = torch.sigmoid(logits)
    return p * positive_loss(logits) + (1 - p) * negative_loss(logits)


def reweighting(losses: Tensor, alpha: float) -> Tensor:
    """Compute the weights of the reweighted cross entropy: `p^alpha`, `p` the label's sigmoid.

    As `p = exp(-loss)`, a large loss gives a small weight (Wang et al., Denoising Implicit
    Feedback for Recommendation, WSDM 2021, Eq. 5).

    Args:
        losses: Log losses, shape `(pairs,)`.
        alpha: At least 0; 0 weights all pairs equally.

    Returns:
        Weights in [0, 1], shape `(pairs,)`; constants to autograd.
    """
    return torch.exp(-alpha * losses.detach())


def truncation(losses: Tensor, suspects: Tensor, n_dropped: int | Tensor) -> Tensor:
    """Return the mask of the truncated cross entropy, which drops suspects of largest loss.

    Wang et al., WSDM 2021, Eq. 4. Among equal losses the later pair is dropped first.

    Args:
        losses: Losses, shape `(pairs,)`.
        suspects: Pairs that may be dropped, boolean of shape `(pairs,)`.
        n_dropped: Number of pairs to drop, at most all suspects; a whole number.

    Returns:
        1.0 for kept and 0.0 for dropped pairs, shape `(pairs,)`; constants to autograd.

    Example:
        >>> losses = torch.tensor([0.1, 3.0, 2.0, 1.0])
        >>> truncation(losses, torch.tensor([True, False, True, True]), 1)
        tensor([1., 1., 0., 1.])
    """
    fits = torch.where(suspects, losses.detach(), -torch.inf)
    ranks = torch.argsort(torch.argsort(fits, stable=True), stable=True)
    return (~suspects | (ranks < len(losses) - n_dropped)).to(losses.dtype)


def mean_where(weights: Tensor, values: Tensor) -> Tensor:
    """Return the mean of values with 0/1 weights; 0 if all weights are 0.

    Example:
        >>> mean_where(torch.tensor([1.0, 0.0, 1.0]), torch.tensor([1.0, 5.0, 3.0]))
        tensor(2.)
    """
    return (weights * values).sum() / weights.sum().clamp_min(1)


def _log_negative_loss(logits: Tensor) -> Tensor:
    """Return the logarithm of `l0 = log(1 + exp(z))`, which is `z` for tiny `exp(z)`.

    Below `z = -20`, `l0 = exp(z)` to 1e-9 relative; at smaller `z` it underflows (-104 in
    float32), and the plain logarithm would be minus infinity.
    """
    return torch.where(logits < -20, logits, negative_loss(logits.clamp_min(-20)).log())
