"""The terms of the training objective, with the paper's equation numbers.

Every term is a mean over the items of a batch, so the average of the processes' gradients is the gradient
of the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def per_item(kind: str, a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute (``l1``) or squared (``l2``) difference of each item: [B, ...] -> [B]."""
    difference = a - b
    values = difference.abs() if kind == "l1" else difference.square()
    return values.flatten(1).mean(1)


def coarse_loss(x_cp: Tensor, y: Tensor, kind: str, weights: Tensor | None = None) -> Tensor:
    """P's own loss: the distance of coarse prediction and standard-dose slice, both [B, 1, H, W].

    ``weights`` [B] of the items; None: 1. The paper's Eq. 9 lacks this term, so there D can compensate any
    error of P (method.md section 5).
    """
    each = per_item(kind, x_cp, y)
    return (each if weights is None else weights * each).mean()


def dose_weights(dose: Tensor, smallest: float, exponent: float) -> Tensor:
    """(dose / smallest)^exponent of each item's dose fraction [B].

    The squared error of a good estimate falls as the dose rises: by about 8 from 1/100 to 1/4. Without
    weights, the high doses hardly train P.
    """
    return (dose / smallest) ** exponent


def noisy_residual(r0: Tensor, gamma: Tensor, noise: Tensor) -> Tensor:
    """r_t = sqrt(gamma) r_0 + sqrt(1 - gamma) eps (Eq. 2); ``gamma`` [B]."""
    gamma = gamma.view(-1, 1, 1, 1)
    return gamma.sqrt() * r0 + (1 - gamma).sqrt() * noise


def main_loss(eps: Tensor, noise: Tensor, gamma: Tensor, kind: str, weighting: str) -> Tensor:
    """L_main (Eq. 8; Eq. 3 without P): the distance of predicted and true noise.

    ``weighting`` eps: as in the paper. v: the error of an item is divided by sqrt(gamma) before the
    norm. By Eq. 6 an error e of eps is an error e sqrt((1 - gamma) / gamma) of r_0. So the paper's
    weights almost ignore errors of r_0 at high noise; with v they have similar weights at all levels.
    """
    if weighting == "v":
        root = gamma.sqrt().view(-1, 1, 1, 1)
        eps, noise = eps / root, noise / root
    return per_item(kind, eps, noise).mean()


def guidance_targets(y_aux: Tensor, scales: int) -> list[Tensor]:
    """y_aux^k of Eq. 5 for k = 1 .. scales by fixed average pooling over 2^k: [B, C, H/2^k, W/2^k].

    With the extractor's own trainable downsampler, as in the authors' code, the target can collapse.
    """
    return [F.avg_pool2d(y_aux, 2**k) for k in range(1, scales + 1)]


def guidance_loss(predictions: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """L_G of one guide (Eq. 5): sum over scales k of |C(F(x_aux^k)) - y_aux^k|, mean over voxels."""
    losses = [per_item("l1", p, t) for p, t in zip(predictions, targets, strict=True)]
    return torch.stack(losses).sum(0).mean()


def one_step_residual(r_t: Tensor, eps: Tensor, gamma: Tensor) -> Tensor:
    """r~_0 = (r_t - sqrt(1 - gamma) eps) / sqrt(gamma) (Eq. 6); ``gamma`` [B]."""
    gamma = gamma.view(-1, 1, 1, 1)
    return (r_t - (1 - gamma).sqrt() * eps) / gamma.sqrt()


def contrastive_paper(y_tilde: Tensor, y: Tensor, negatives: Tensor) -> Tensor:
    """L_CL (Eq. 7): -log p(y) minus the sum of -log p(y^i) over the negatives.

    ``y_tilde``, ``y`` [B, 1, H, W]; ``negatives`` [B, N, H, W]. The paper states no density. Its L1 losses
    imply a Laplace density around y~ with scale 1 per voxel, whose -log p is |y - y~| up to a constant.
    As in the other terms, voxels are averaged. The loss has no lower bound, because the distance to the
    negatives can grow without limit.
    """
    return (_far(y_tilde, y).squeeze(1) - _far(y_tilde, negatives).sum(1)).mean()


def contrastive_official(y_tilde: Tensor, y: Tensor, negatives: Tensor, time: Tensor) -> Tensor:
    """L_CL as in the authors' code; ``time`` [B] is t / T.

    Pull: y (log y - log y~), weight 2 - t/T. Push: its mean over the negatives, weight 1 + t/T. Both are
    0 at t = 0. Both are means over voxels: the code sums them and divides its whole loss by the number of
    voxels. The code evaluates D again at the level of step t; here y~ is from L_main's evaluation, at the
    item's own level. Arguments of logarithms are at least 1e-30, as in the code. On one channel this is
    not a divergence: both parts are unbounded, and a brighter y~ lowers the pull (method.md section 5).
    """

    def divergence(true: Tensor) -> Tensor:
        true, found = true.clamp_min(1e-30), y_tilde.clamp_min(1e-30)
        return (true * (true.log() - found.log())).mean((2, 3))

    pull, push = divergence(y).squeeze(1), divergence(negatives).mean(1)
    return (((2 - time) * pull - (1 + time) * push) * (time > 0)).mean()


def contrastive_margin(y_tilde: Tensor, y: Tensor, negatives: Tensor, margin: float) -> Tensor:
    """Bounded L_CL: zero if y~ is nearer to y than to each negative by ``margin`` (mean absolute
    difference)."""
    gap = _far(y_tilde, y) - _far(y_tilde, negatives)
    return F.relu(margin + gap).mean()


def contrastive_infonce(
    y_tilde: Tensor, y: Tensor, negatives: Tensor, temperature: float
) -> Tensor:
    """Bounded L_CL: the cross-entropy of y among the negatives, with logits -distance / temperature
    (InfoNCE, van den Oord et al. 2018)."""
    distances = torch.cat([_far(y_tilde, y), _far(y_tilde, negatives)], dim=1)
    return -F.log_softmax(-distances / temperature, dim=1)[:, 0].mean()


def _far(y_tilde: Tensor, candidates: Tensor) -> Tensor:
    """Mean absolute difference of y~ [B, 1, H, W] from each of [B, N, H, W]: [B, N]."""
    return (candidates - y_tilde).abs().mean((2, 3))
