"""Students for inference: norms folded into convolutions, activations computed with them, weights packed on a CPU."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from students.backbone import PickedConv2d
from students.cnn import CNNStudent
from students.forms import prepare
from teachers.fast_cpu import is_plain_inference, prepared, use_fast_layers
from teachers.model import DepthModel, replace_modules

# What oneDNN computes together with a convolution: its name and its numbers.
ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.SiLU: "swish",
    nn.Hardswish: "hardswish",
    nn.Sigmoid: "sigmoid",
    nn.LeakyReLU: "leaky_relu",
}
PLAIN = {nn.Conv2d, PickedConv2d, *ACTIVATIONS}
FEW = 50_000  # values of a map for which finding oneDNN's kernel, 0.1 ms a call, takes longer than what it saves


class FusedConv2d(nn.Conv2d):
    """A convolution and what follows it, as one call of oneDNN with a packed weight; elsewhere one after the other."""

    def __init__(self, plain: nn.Conv2d, activation: nn.Module) -> None:
        self.__dict__.update(plain.__dict__)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, O, H, W)."""
        if x.numel() < FEW or not is_plain_inference(x, self.weight):
            return self.activation(super().forward(x))
        x = x.contiguous(memory_format=torch.channels_last)  # which every later map then has
        shape = (self.padding, self.stride, self.dilation, self.groups)
        weight = prepared(self.weight, lambda w: torch.ops.mkldnn._reorder_convolution_weight(w, *shape, list(x.shape)))
        name = ACTIVATIONS.get(type(self.activation), "none")
        numbers = [self.activation.negative_slope] if isinstance(self.activation, nn.LeakyReLU) else []
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(x, weight, self.bias, *shape, name, numbers, "")
        return out if name != "none" else self.activation(out)


class Nothing(nn.Identity):
    """What is left of a module that another has taken in. It has no hooks, so a call costs next to nothing.

    A small backbone has 130 of them; as `nn.Identity` they took a seventh of a small image's time.
    """

    def __call__(self, x: Tensor) -> Tensor:
        return x


@dataclass
class Chain:
    """A convolution and the modules that take its output, one after the other."""

    conv: nn.Conv2d
    norm: nn.BatchNorm2d | None = None
    activation: nn.Module | None = None

    @property
    def parts(self) -> list[nn.Module]:
        """What there is of it."""
        return [part for part in (self.conv, self.norm, self.activation) if part is not None]

    def extend(self, module: nn.Module) -> bool:
        """Take in a norm or an activation, if it has a place here."""
        if self.activation is not None:
            return False
        if not isinstance(module, nn.BatchNorm2d):
            self.activation = module
        elif self.norm is None:
            self.norm = module
            self.activation = module.act if isinstance(module, BatchNormAct2d) else None
        else:
            return False
        return True

    def fused(self) -> FusedConv2d:
        """All of it as one layer."""
        conv = self.conv if self.norm is None else fuse_conv_bn_eval(self.conv, self.norm)
        return FusedConv2d(conv, self.activation or nn.Identity())


def chains_of(model: nn.Module) -> list[Chain]:
    """The plain convolutions of a model with what follows each; it is run once to see that.

    A convolution that is called more than once, or shares what follows it, is left out.
    """
    made: dict[int, tuple[Chain, Tensor, int]] = {}
    chains: list[Chain] = []
    calls: Counter[nn.Module] = Counter()

    def after(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls[module] += 1
        if isinstance(module, nn.Conv2d):
            chain = Chain(module)
            chains.append(chain)
        else:
            last, tensor, version = made.get(id(inputs[0]), (None, inputs[0], 0))
            if last is None or tensor._version != version or not last.extend(module):  # something was added in place
                return
            chain = last
        made[id(output)] = chain, output, output._version  # which keeps the tensor alive, and so its number its own

    watched = [m for m in model.modules() if type(m) in PLAIN or isinstance(m, nn.BatchNorm2d)]
    hooks = [module.register_forward_hook(after) for module in watched]
    model(torch.zeros(1, 3, 64, 64))
    for hook in hooks:
        hook.remove()
    return [chain for chain in chains if all(calls[part] <= 1 for part in chain.parts)]


@torch.no_grad()
def optimise(model: DepthModel) -> DepthModel:
    """A copy for inference, on the CPU in eval mode: constant work done once, norms folded, weights packed.

    It gives what the model gives, but for rounding, and cannot train. Of a CNN activations are fused as well.
    """
    plain = prepare(model)
    assert isinstance(plain, DepthModel)
    replaced: dict[nn.Module, nn.Module] = {}
    for chain in chains_of(plain) if isinstance(plain, CNNStudent) else ():
        replaced |= {chain.conv: chain.fused(), **{part: nn.Identity() for part in chain.parts[1:]}}
    replace_modules(plain, replaced.get)
    replace_modules(plain, lambda module: Nothing() if isinstance(module, nn.Identity) else None)
    use_fast_layers(plain)
    return plain.to(memory_format=torch.channels_last)
