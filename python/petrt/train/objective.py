"""The training objective (Eq. 9): runs the networks on a batch and computes the weighted loss terms."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from petrt.nets import Model
from petrt.nets.guidance import Extractor
from petrt.train import losses
from petrt.train.config import TrainConfig
from petrt.train.data import Batch
from petrt.train.levels import training_time


class Objective(nn.Module):
    """L_total = L_main + m L_G^NAS + n L_G^spectrum + k L_CL (Eq. 9), and P's own loss."""

    def __init__(self, model: Model, config: TrainConfig) -> None:
        super().__init__()
        self.model, self.config = model, config
        self._spreads: dict[str, Tensor] = {}

    @property
    def diagnostics(self) -> dict[str, float]:
        """The standard deviation of each guide's target over the last batch (``nas_target_std``, ...).

        It goes to 0 if the guidance collapses. Reading it waits for the device.
        """
        return {name: float(spread) for name, spread in self._spreads.items()}

    def forward(
        self, batch: Batch, *, denoising: bool, sigma_r: float | None = None
    ) -> dict[str, Tensor]:
        """Name -> weighted term, a scalar. Training minimises their sum.

        With ``denoising``, D is trained too, on residuals divided by ``sigma_r``. Without P the residual
        is the image itself (SR3). Raises ValueError for ``denoising`` without ``sigma_r``.
        """
        loss, model = self.config.loss, self.model
        features = guidance_features(model, batch)
        self._spreads = {}
        terms = self._guidance_terms(batch, features)
        x_cp = torch.zeros_like(batch.y)
        if model.coarse is not None:
            x_cp = model.coarse_of(batch.x, batch.x_nas, features).float()
            if loss.coarse_weight:
                own = losses.coarse_loss(x_cp, batch.y, loss.coarse, self._dose_weights(batch))
                terms = {"coarse": loss.coarse_weight * own} | terms
        if denoising:
            if sigma_r is None:
                raise ValueError("the denoiser needs sigma_r")
            terms |= self._denoiser_terms(batch, x_cp, features, sigma_r)
        return terms

    def _dose_weights(self, batch: Batch) -> Tensor | None:
        """Weights [B] of the items in P's own loss, None if all are alike."""
        exponent = self.config.loss.dose_exponent
        if not exponent:
            return None
        return losses.dose_weights(batch.dose, 1 / max(self.config.data.doses), exponent)

    def _guidance_terms(self, batch: Batch, features: list[list[Tensor]]) -> dict[str, Tensor]:
        """L_G of each guide (Eq. 5)."""
        guidance, loss = self.model.guidance, self.config.loss
        if guidance is None:
            return {}
        guides = {"nas": (batch.y_nas, guidance.nas)}
        if batch.y_spectrum is not None and guidance.spectrum:
            guides["spectrum"] = (batch.y_spectrum, guidance.spectrum)
        predictions = zip(*guidance.predict(features), strict=True)
        terms = {}
        for (name, (y_aux, extractors)), predicted in zip(guides.items(), predictions, strict=True):
            if loss.guidance_target == "pooled":
                targets = losses.guidance_targets(y_aux, len(extractors))
            else:
                targets = [cast(Extractor, each).downs(y_aux) for each in extractors]
            self._spreads[f"{name}_target_std"] = targets[0].detach().float().std()
            term = losses.guidance_loss(
                [p.float() for p in predicted], [t.float() for t in targets]
            )
            terms[name] = getattr(loss, name) * term
        return terms

    def _denoiser_terms(
        self, batch: Batch, x_cp: Tensor, features: list[list[Tensor]], sigma_r: float
    ) -> dict[str, Tensor]:
        """L_main (Eq. 8) and L_CL (Eq. 7).

        Both train D and the guidance, and P unless ``loss.detach``. The gradient reaches P only through
        D's input r_t, because x_cp cancels in y~ (Eq. 2 and 6).
        """
        loss = self.config.loss
        assert self.model.denoiser is not None
        x_cp = x_cp.detach() if loss.detach else x_cp
        r_t = losses.noisy_residual((batch.y - x_cp) / sigma_r, batch.gamma, batch.noise)
        eps = self.model.denoiser(batch.x, r_t, batch.gamma.sqrt(), features).float()
        main = losses.main_loss(eps, batch.noise, batch.gamma, loss.denoiser, loss.weighting)
        terms = {"denoiser": loss.denoiser_weight * main}
        if loss.contrastive != "none":
            # The one-step estimate y~ = x_cp + r~_0, in units of the image.
            y_tilde = x_cp + sigma_r * losses.one_step_residual(r_t, eps, batch.gamma)
            terms["contrastive"] = loss.contrastive_weight * self._contrastive(batch, y_tilde)
        return terms

    def _contrastive(self, batch: Batch, y_tilde: Tensor) -> Tensor:
        loss, y, negatives = self.config.loss, batch.y, batch.negatives
        assert negatives is not None
        if loss.contrastive == "paper":
            return losses.contrastive_paper(y_tilde, y, negatives)
        if loss.contrastive == "official":
            time = torch.from_numpy(training_time(batch.gamma.cpu().numpy())).to(y.device)
            return losses.contrastive_official(y_tilde, y, negatives, time)
        if loss.contrastive == "margin":
            return losses.contrastive_margin(y_tilde, y, negatives, loss.margin)
        return losses.contrastive_infonce(y_tilde, y, negatives, loss.temperature)


def guidance_features(model: Model, batch: Batch) -> list[list[Tensor]]:
    """Features of the low-dose guides of ``batch``, per scale and guide; empty without guides."""
    if model.guidance is None:
        return []
    dose = batch.dose if model.spec.dose else None
    return model.guidance(batch.x_nas, batch.x_spectrum, dose)
