"""A network as a torch module, for fixed shapes.

The steps run one after the other as tensor operations. All shapes are numbers, so the module is traced
without branches: torch.compile sees static shapes and no graph breaks. Norms (statistics, scale, shift
and SiLU) compute in float32 in every precision.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from petrt.errors import InputError
from petrt.model.group_norm import Norm as GroupNorm
from petrt.model.half_precision import WIDE_INTERFACE, Precision, check_finite, narrowed
from petrt.model.network import Network
from petrt.model.steps import (
    Add,
    AddBias,
    AddMap,
    Attend,
    Concat,
    Conv,
    Level,
    Linear,
    Norm,
    Split,
    weights_of,
)

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
Shape = tuple[int, ...]


@fx.wrap
def attention(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Single-head attention of [B, C, L] tensors, softmax in float32; [B, C, L]."""
    q, k, v = (t.transpose(1, 2).unsqueeze(1) for t in (query, key, value))
    return F.scaled_dot_product_attention(q, k, v, scale=scale).squeeze(1).transpose(1, 2)


def _one_call(function: Callable[..., Any], x: Any, *args: Any) -> Any:
    """A call of ``function`` that is traced as one node."""
    if isinstance(x, fx.Proxy):
        return x.tracer.create_proxy("call_function", function, (x, *args), {})
    return function(x, *args)


class TorchGraph:
    """One network: its inputs and outputs, its weights on a device, and modules for given shapes.

    ``inputs``, ``outputs``: name -> shape, with strings for dynamic dimensions. ``dtypes``: name -> dtype
    of both. ``forms``: kind of step -> how often it is computed, with norms and activations. ``norm``: the
    function that computes GroupNorm. Raises InputError for weights beyond the range of ``precision``.
    """

    def __init__(
        self,
        network: Network,
        precision: Precision,
        device: torch.device,
        norm: GroupNorm = F.group_norm,
    ) -> None:
        self._network, self._precision, self._device = network, precision, device
        self._norm = norm
        self.inputs, self.outputs = (
            {name: list(dims) for name, dims in each.items()}
            for each in (network.inputs, network.outputs)
        )
        self.dtypes = {
            name: torch.float32 if name in WIDE_INTERFACE else DTYPES[precision]
            for name in (*network.inputs, *network.outputs)
        }
        self._weights = self._load()
        norms = [step.norm for step in network.steps if isinstance(step, Conv) and step.norm]
        self.forms = Counter(type(step).__name__ for step in network.steps)
        self.forms |= {"GroupNorm": len(norms), "SiLU": sum(norm.silu for norm in norms)}

    def module(self, shapes: Mapping[str, Shape]) -> nn.Module:
        """A module that takes all inputs, then all outputs to write to, in the network's order.

        ``shapes``: name -> shape of these buffers. Their dtypes may be wider than the network's.
        """
        found = self._network.shapes({name: shapes[name] for name in self.inputs})
        for name in self.outputs:
            if found[name] != tuple(shapes[name]):
                raise InputError(
                    f"network {self._network.name}: {name} is of shape {list(found[name])}, "
                    f"its buffer of {list(shapes[name])}"
                )
        dtype = DTYPES[self._precision]
        steps = _Steps(self._network, self._weights, found, dtype, self._norm)
        return fx.symbolic_trace(steps).eval()

    def _load(self) -> dict[str, Tensor]:
        """The weights on the device: convolutions' in the precision, all others in float32."""
        found: dict[str, Tensor] = {}
        for step in self._network.steps:
            own = (step.weight, step.bias) if isinstance(step, Conv) else ()
            found |= {name: self._weight(name, name in own) for name in weights_of(step)}
        return found

    def _weight(self, name: str, narrow: bool) -> Tensor:
        array, dtype = self._network.weight(name), DTYPES[self._precision]
        what = f"{self._network.name} in {self._precision}: {name}"
        if self._precision != "fp32" and narrow:
            value = torch.from_numpy(narrowed(array, self._precision, what)).view(dtype)
            if self._device.type == "cpu":  # a CPU computes in float32, see _products
                value = value.float()
        else:
            if self._precision != "fp32":
                check_finite(array, what)
            value = torch.from_numpy(np.array(array))
        value = value.to(self._device)
        channels_last = value.dim() == 4 and self._device.type == "cuda"
        return value.to(memory_format=torch.channels_last) if channels_last else value


class _Steps(nn.Module):
    """The steps for fixed shapes, with one method for each kind.

    ``shapes``: name -> shape of every value. ``dtype``: type of all arithmetic that
    ``petrt.model.half_precision`` does not keep in float32.
    """

    def __init__(
        self,
        network: Network,
        weights: Mapping[str, Tensor],
        shapes: Mapping[str, Shape],
        dtype: torch.dtype,
        norm: GroupNorm,
    ) -> None:
        super().__init__()
        self._network, self._shapes, self._dtype, self._norm = network, shapes, dtype, norm
        self._exact = {step.x for step in network.steps if isinstance(step, Level)}
        self._names = {name: f"weight_{i}" for i, name in enumerate(weights)}
        for name, weight in weights.items():
            self.register_buffer(self._names[name], weight)
        self._on_cpu = all(weight.device.type == "cpu" for weight in weights.values())
        self._values: dict[str, Tensor] = {}

    def forward(self, *buffers: Tensor) -> None:
        network, count = self._network, len(self._network.inputs)
        for i, name in enumerate(network.inputs):
            self._values[name] = buffers[i] if name in self._exact else self._narrow(buffers[i])
        for step in network.steps:
            getattr(self, f"_{step.kind}")(step)
        for i, name in enumerate(network.outputs):
            buffers[count + i].copy_(self._values[name])

    def _weight(self, name: str) -> Tensor:
        weight: Tensor = getattr(self, self._names[name])
        return weight

    def _narrow(self, x: Tensor) -> Tensor:
        """``x`` in the module's dtype."""
        return x if self._dtype == torch.float32 else x.to(self._dtype)

    def _products(self, function: Callable[..., Tensor], *args: Any, **options: Any) -> Tensor:
        """Call ``function``, a sum of products, with 16-bit factors and float32 sums, rounded once.

        A GPU's matrix units do that. Most CPUs have no 16-bit matrix units, and torch's emulation takes
        fifty times as long as the same arithmetic in float32, which is used here.
        """
        if self._dtype == torch.float32 or not self._on_cpu:
            return function(*args, **options)
        wide = [a.float() if isinstance(a, Tensor | fx.Proxy) else a for a in args]
        return function(*wide, **options).to(self._dtype)

    def _conv(self, step: Conv) -> None:
        x = self._values[step.x]
        if step.norm is not None:
            x = self._narrow(self._normalised(step.norm, x))
        elif step.upsampled:
            height, width = self._shapes[step.x][2:]
            x = F.interpolate(x, size=[2 * height, 2 * width], mode="nearest")
        weight = self._weight(step.weight)
        bias = None if step.bias is None else self._weight(step.bias)
        padding = (self._network.weights[step.weight].shape[2] - 1) // 2
        function = F.conv_transpose2d if step.transposed else F.conv2d
        options = {"stride": step.stride, "padding": padding}
        self._values[step.out] = self._products(function, x, weight, bias, **options)

    def _normalised(self, norm: Norm, x: Tensor) -> Tensor:
        """The norm of ``x`` in float32; the caller rounds it."""
        weight, bias = self._weight(norm.weight), self._weight(norm.bias)
        h = _one_call(self._norm, x.float(), norm.groups, weight, bias, norm.epsilon)
        return F.silu(h) if norm.silu else h

    def _add(self, step: Add) -> None:
        self._values[step.out] = self._values[step.a] + self._values[step.b]

    def _add_map(self, step: AddMap) -> None:
        slices, *area = self._shapes[step.map]
        samples = self._values[step.x].reshape([slices, -1, *area])
        added = samples + self._values[step.map].unsqueeze(1)
        self._values[step.out] = added.reshape([-1, *area])

    def _add_bias(self, step: AddBias) -> None:
        bias = self._values[step.bias].unsqueeze(2).unsqueeze(3)
        self._values[step.out] = self._values[step.x] + bias

    def _concat(self, step: Concat) -> None:
        self._values[step.out] = torch.cat([self._values[part] for part in step.parts], dim=1)

    def _attend(self, step: Attend) -> None:
        _, channels, height, width = self._shapes[step.out]
        flat = self._values[step.qkv].reshape([-1, 3 * channels, height * width])
        query, key, value = (flat[:, i * channels : (i + 1) * channels] for i in range(3))
        mixed = self._products(attention, query, key, value, step.scale)
        self._values[step.out] = mixed.reshape([-1, channels, height, width])

    def _split(self, step: Split) -> None:
        first = 0
        for out, size in zip(step.outs, step.sizes, strict=True):
            self._values[out] = self._values[step.x][:, first : first + size]
            first += size

    def _level(self, step: Level) -> None:
        self._values[step.out] = (self._values[step.x].log() * step.scale).reshape([-1, 1])

    def _linear(self, step: Linear) -> None:
        """Compute in float32 and round once."""
        weight, bias = self._weight(step.weight), self._weight(step.bias)
        self._values[step.out] = self._narrow(self._values[step.x] * weight + bias)
