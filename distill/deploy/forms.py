"""Parts of the networks in forms that cost runtimes less and give the same."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from students.cnn import AdaptiveBins
from students.lg_conv import LGConv
from teachers.stem import fold_standardisation


class LastAxisBins(AdaptiveBins):
    """The softmax over the last axis, where values lie side by side, and the mean as a matrix product."""

    def forward(self, context: Tensor, features: Tensor) -> Tensor:
        scores = self.scores(features)
        probabilities = rearrange(scores, "b c h w -> b (h w) c").softmax(dim=-1)
        return rearrange(probabilities @ self.centres(context)[..., None], "b (h w) c -> b c h w", h=scores.shape[-2])


class FewHeadsLGConv(LGConv):
    """The global branch with one map per head in place of one per channel.

    expand(v * p) sums W[o, c] v[c] p[head of c] over channels c. With U[o, m], the sum of W v over the channels of head
    m, this is U p: an eighth of the products, and nothing as wide as t is made of p. `expand` and `norm_out` are one.
    """

    def forward(self, x: Tensor) -> Tensor:
        t = F.relu(self.norm(self.reduce(x)))
        speaking, received = self.scores(t).split(self.heads, dim=1)
        attention = speaking.flatten(2).softmax(dim=-1).unsqueeze(-1)
        v = rearrange(t, "b (m k) h w -> b m k (h w)", m=self.heads) @ attention  # (b, m, k, 1)
        if self.stride > 1:
            received = F.avg_pool2d(received, self.stride, ceil_mode=True)
        gate = torch.sigmoid(received + self.gate_mean(t.mean(dim=(2, 3)))[:, :, None, None])
        weight = rearrange(self.expand.weight, "o (m k) 1 1 -> m o k", m=self.heads)
        per_head = rearrange(weight @ v, "b m o 1 -> b o m")
        message = rearrange(per_head @ gate.flatten(2), "b o (h w) -> b o h w", h=gate.shape[-2])
        return self.local(x) + message  # the bias of `expand` is in `local`


@torch.no_grad()
def prepare(model: nn.Module) -> nn.Module:
    """A copy on the CPU in eval mode, with everything constant done once and in the forms above."""
    plain = fold_standardisation(copy.deepcopy(model).cpu().float().eval()).requires_grad_(False)
    for name, norm in norms_behind_lg_conv(plain).items():
        scale_outputs(plain.get_submodule(name), plain.get_submodule(norm))
        plain.set_submodule(norm, getattr(plain.get_submodule(norm), "act", nn.Identity()))
    for module in plain.modules():
        if type(module) is AdaptiveBins:
            module.__class__ = LastAxisBins
        elif type(module) is LGConv:
            fold_norms(module)
            module.__class__ = FewHeadsLGConv
    return plain


def fold_norms(conv: LGConv) -> None:
    """Take the norms of the global branch into the convolutions before them, and its bias into the local one."""
    for before, norm in (("reduce", "norm"), ("expand", "norm_out")):
        setattr(conv, before, fuse_conv_bn_eval(getattr(conv, before), getattr(conv, norm)))
        setattr(conv, norm, nn.Identity())
    assert conv.expand.bias is not None
    add_bias(conv.local, conv.expand.bias)


def norms_behind_lg_conv(model: nn.Module) -> dict[str, str]:
    """For the names of LG-Convs those of the BatchNorms that take their outputs, found by running the model once."""
    made: dict[int, tuple[str, Tensor]] = {}
    result: dict[str, str] = {}

    def after(name: str) -> Any:
        return lambda _module, _args, output: made.update({id(output): (name, output)})

    def before(name: str) -> Any:
        return lambda _module, args: result.update({made[id(args[0])][0]: name} if id(args[0]) in made else {})

    kinds = {name: module for name, module in model.named_modules() if isinstance(module, (LGConv, nn.BatchNorm2d))}
    inner = tuple(f"{name}." for name, module in kinds.items() if isinstance(module, LGConv))
    hooks = []
    for name, module in kinds.items():
        if isinstance(module, LGConv):
            hooks.append(module.register_forward_hook(after(name)))
        elif not name.startswith(inner):
            hooks.append(module.register_forward_pre_hook(before(name)))
    if inner:
        model(torch.zeros(1, 3, 32, 32))
    for hook in hooks:
        hook.remove()
    return result


def scale_outputs(conv: Any, norm: Any) -> None:
    """Take the norm behind an LG-Conv into all that it sums."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    shift = norm.bias - norm.running_mean * scale
    conv.local.weight.mul_(scale[:, None, None, None])
    if conv.local.bias is not None:
        conv.local.bias.mul_(scale)
    add_bias(conv.local, shift)
    conv.norm_out.weight.mul_(scale)
    conv.norm_out.bias.mul_(scale)


def add_bias(conv: Any, bias: Tensor) -> None:
    conv.bias = nn.Parameter(bias if conv.bias is None else conv.bias + bias, requires_grad=False)
