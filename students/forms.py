"""Parts of the networks in forms that cost runtimes less and give the same."""

from __future__ import annotations

import copy

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from timm.layers import BatchNormAct2d
from timm.utils import reparameterize_model
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from students.cnn import CNNStudent
from students.decoders import AdaptiveBins
from students.lg_conv import LGConv
from teachers.model import replace_modules
from teachers.stem import fold_standardisation


class LastAxisBins(AdaptiveBins):
    """The softmax over the last axis, where values lie side by side, and the mean as a matrix product."""

    def __init__(self, bins: AdaptiveBins) -> None:
        nn.Module.__init__(self)
        self.widths, self.scores = bins.widths, bins.scores
        self.min_depth, self.max_depth = bins.min_depth, bins.max_depth

    def centres(self, context: Tensor) -> Tensor:
        """The same; in exported graphs the sums are a product, as chips and LiteRT have no cumulative sum."""
        if not (torch.jit.is_tracing() or torch.compiler.is_exporting()):
            return super().centres(context)
        widths = self.widths(context.mean(dim=(2, 3))).softmax(dim=-1)
        bins = self.scores.out_channels
        before = torch.tensor((np.triu(np.ones((bins, bins)), 1) + np.eye(bins) / 2).tolist(), dtype=widths.dtype)
        return self.min_depth + (self.max_depth - self.min_depth) * (widths @ before)

    def forward(self, context: Tensor, features: Tensor, spread: bool = False) -> Tensor:
        """As of `AdaptiveBins`, which has no other form with `spread`."""
        if spread:
            return super().forward(context, features, spread)
        scores = self.scores(features)
        probabilities = rearrange(scores, "b c h w -> b (h w) c").softmax(dim=-1)
        return rearrange(probabilities @ self.centres(context)[..., None], "b (h w) c -> b c h w", h=scores.shape[-2])


class FewHeadsLGConv(nn.Module):
    """The global branch with one map per head in place of one per channel, and its norms in the convolutions.

    expand(v * p) sums W[o, c] v[c] p[head of c] over channels c. With U[o, m], the sum of W v over the channels of head
    m, this is U p: an eighth of the products, and nothing as wide as t is made of p.

    Args:
        conv: In eval mode.
        behind: A BatchNorm that takes the convolution's output alone, to be taken in as well.
    """

    def __init__(self, conv: LGConv, behind: nn.BatchNorm2d | None) -> None:
        super().__init__()
        self.heads, self.stride = conv.heads, conv.stride
        self.local, self.reduce = conv.local, fuse_conv_bn_eval(conv.reduce, conv.norm)
        self.scores, self.gate_mean = conv.scores, conv.gate_mean
        self.expand = fuse_conv_bn_eval(conv.expand, conv.norm_out)
        bias = self.expand.bias
        assert bias is not None
        self.local.bias = nn.Parameter(bias if self.local.bias is None else self.local.bias + bias, requires_grad=False)
        if behind is not None:
            assert behind.running_var is not None
            self.local = fuse_conv_bn_eval(self.local, behind)
            scale = behind.weight / (behind.running_var + behind.eps).sqrt()
            self.expand.weight.mul_(scale[:, None, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> what the convolution gives, of the same shape, with the whole image in it."""
        t = F.relu(self.reduce(x))
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
    if isinstance(plain, CNNStudent) and not any(isinstance(module, LGConv) for module in plain.modules()):
        reparameterize_model(plain.encoder, inplace=True)  # branches of constant weights
    behind = norms_behind_lg_conv(plain)
    folded = set(behind.values())

    def other_form(module: nn.Module) -> nn.Module | None:
        if isinstance(module, LGConv):
            return FewHeadsLGConv(module, behind.get(module))
        if isinstance(module, AdaptiveBins):
            return LastAxisBins(module)
        if module in folded:
            return module.act if isinstance(module, BatchNormAct2d) else nn.Identity()
        return None

    return replace_modules(plain, other_form)


def norms_behind_lg_conv(model: nn.Module) -> dict[LGConv, nn.BatchNorm2d]:
    """For each LG-Conv the BatchNorm that takes its output, if one does; the model is run once to see that."""
    made: dict[int, tuple[LGConv, Tensor]] = {}
    behind: dict[LGConv, nn.BatchNorm2d] = {}

    def after(conv: LGConv, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        made[id(output)] = conv, output  # which keeps the tensor alive, and so its number its own

    def before(norm: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        if id(inputs[0]) in made:
            behind[made[id(inputs[0])][0]] = norm

    convs = [module for module in model.modules() if isinstance(module, LGConv)]
    inner = {part for conv in convs for part in conv.modules()}
    hooks = [conv.register_forward_hook(after) for conv in convs]
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module not in inner:
            hooks.append(module.register_forward_pre_hook(before))
    if convs:
        model(torch.zeros(1, 3, 32, 32))
    for hook in hooks:
        hook.remove()
    return behind
