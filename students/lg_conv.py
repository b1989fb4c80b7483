"""LG-Conv: a convolution that also sees the whole image (DisDepth, arXiv 2404.16386, section 3.2)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from teachers.model import no_autocast

HEAD_WIDTH = 8
GLOBAL_SCALE = 0.01  # initial weight of the global branch's norm, so that pretrained weights are hardly disturbed
STEM_NAMES = ("conv_stem", "conv1", "stem", "patch_embed")
SCOPES = ("3x3", "kxk", "late")
AUTO = "auto"  # in the place of true: where there is something to wrap


class LGConv(nn.Module):
    """A convolution plus a global branch of a few attention-pooled vectors.

    With t = ReLU(BN(conv1x1(x))) of h channels in M heads of 8, and g its mean over positions:

        a = softmax over positions of conv1x1(t)        which positions speak, one map per head
        v = sum over positions of a * t                 one vector of 8 per head
        p = sigmoid(conv1x1([pool(t), g]))              which positions listen, one map per head
        y = local(x) + BN(conv1x1(v * p))

    Args:
        local: The convolution to wrap; its weights and stride are kept. Plain checkpoints of it load as they are.
    """

    def __init__(self, local: nn.Conv2d) -> None:
        super().__init__()
        width = HEAD_WIDTH * math.ceil(local.in_channels / (2 * HEAD_WIDTH))
        self.heads = width // HEAD_WIDTH
        self.stride = local.stride[0]
        self.local = local
        self.reduce = nn.Conv2d(local.in_channels, width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.scores = nn.Conv2d(width, 2 * self.heads, 1, bias=False)  # who speaks, then who listens
        self.gate_mean = nn.Linear(width, self.heads)
        self.expand = nn.Conv2d(width, local.out_channels, 1, bias=False)
        self.norm_out = nn.BatchNorm2d(local.out_channels)
        nn.init.kaiming_normal_(self.reduce.weight, nonlinearity="relu")
        # Those of `expand` too: its norm knows no statistics yet, and would not hold it back in eval mode.
        for layer in (self.scores, self.gate_mean, self.expand):
            nn.init.normal_(layer.weight, std=0.01)
        nn.init.constant_(self.norm_out.weight, GLOBAL_SCALE)
        self.register_load_state_dict_pre_hook(self._adopt_plain_weights)  # type: ignore[no-untyped-call]

    @staticmethod
    def _adopt_plain_weights(module: LGConv, state: dict[str, Tensor], prefix: str, *_: object) -> None:
        """Let X.weight of an unwrapped checkpoint load as X.local.weight, and whatever else X has (a bias, a gain)."""
        for name in module.local.state_dict():
            if prefix + name in state:
                state[f"{prefix}local.{name}"] = state.pop(prefix + name)

    def summarise(self, t: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors v of t (B, h, H, W), pooled by scores (B, M, H, W), and its mean g, both (B, h).

        Never in float16, whose sums overflow.
        """
        dtype = torch.float32 if t.dtype == torch.float16 else t.dtype
        shares = scores.flatten(2).to(dtype).softmax(dim=-1).to(dtype)
        shares = torch.cat([shares, torch.full_like(shares[:, :1], 1 / shares.shape[-1])], dim=1)
        with no_autocast(t.device.type):  # which would take the product back to float16
            # One product of every head's shares and every head's channels, of which a diagonal is wanted, reads t once.
            sums = shares @ t.to(dtype).flatten(2).transpose(1, 2)
        blocks = sums[:, :-1].unflatten(2, (self.heads, -1))  # b m (n k) -> b m n k
        return blocks.diagonal(dim1=1, dim2=2).transpose(1, 2).flatten(1), sums[:, -1]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> what the convolution gives, of the same shape, with the whole image in it."""
        t = F.relu(convolve(x, self.reduce, self.norm), inplace=True)
        speaking, received = self.scores(t).split(self.heads, dim=1)
        v, mean = self.summarise(t, speaking)
        if self.stride > 1:  # behind the convolution, with which the mean commutes: fewer channels
            received = F.avg_pool2d(received, self.stride, ceil_mode=True)
        gate = torch.sigmoid(received + self.gate_mean(mean.to(t.dtype))[:, :, None, None])
        message = v.to(gate.dtype)[:, :, None, None] * gate.repeat_interleave(HEAD_WIDTH, dim=1)
        return self.local(x) + convolve(message, self.expand, self.norm_out)


def convolve(x: Tensor, conv: nn.Conv2d, norm: nn.Module) -> Tensor:
    """norm(conv(x)); one convolution where the statistics are known, as on a CPU a norm costs as much as one of 1x1."""
    if not isinstance(norm, nn.BatchNorm2d) or norm.training or norm.running_var is None or norm.running_mean is None:
        return norm(conv(x))
    gain = norm.weight * (norm.running_var + norm.eps).rsqrt()
    mean = norm.running_mean if conv.bias is None else norm.running_mean - conv.bias
    return F.conv2d(x, conv.weight * gain[:, None, None, None], norm.bias - mean * gain)


def chosen_convolutions(backbone: nn.Module, scope: str, fine: str) -> list[str]:
    """Names of the convolutions of a backbone's stages that `wrap_lg_conv` wraps, in order."""
    modules = dict(backbone.named_modules())
    names = list(modules)
    if scope == "late":
        names = names[1 + max(i for i, name in enumerate(names) if f"{name}.".startswith(f"{fine}.")) :]
    chosen = []
    for name in names:
        conv, parent = modules[name], modules[name.rpartition(".")[0]]
        if not isinstance(conv, nn.Conv2d) or isinstance(parent, LGConv) or name.startswith(STEM_NAMES):
            continue
        if conv.kernel_size == (3, 3) or (scope == "kxk" and conv.kernel_size > (1, 1)):
            chosen.append(name)
    return chosen


def wrap_lg_conv(backbone: nn.Module, scope: str = "3x3", fine: str = "") -> int:
    """Wrap convolutions of the stages of a timm backbone, in place; stems are left alone. Returns how many.

    Args:
        scope: "3x3", every 3x3 convolution (the paper's); "kxk", every kernel above 1x1; "late", the 3x3 ones
            at strides 16 and 32.
        fine: Name of the module that gives the map at stride 8, behind which "late" begins.

    Raises:
        ValueError: If the scope is unknown.
    """
    if scope not in SCOPES:
        raise ValueError(f"unknown lg_scope {scope!r}, known are {', '.join(SCOPES)}")
    names = chosen_convolutions(backbone, scope, fine)
    for name in names:
        parent, _, last = name.rpartition(".")
        conv = backbone.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        setattr(backbone.get_submodule(parent), last, LGConv(conv).train(conv.training))
    return len(names)
