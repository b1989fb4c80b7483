"""A timm backbone as an encoder of four maps."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from timm.layers import Format
from timm.models import FeatureInfo
from timm.models._efficientnet_blocks import ConvBnAct
from timm.models.mobilenetv3 import MobileNetV3Features
from timm.models.swin_transformer import SwinTransformerBlock, window_partition, window_reverse
from torch import Tensor, nn

from students.efficientnet_names import to_timm
from students.lg_conv import AUTO, wrap_lg_conv
from teachers.checkpoints import check_values
from teachers.model import replace_modules
from teachers.weight_files import read_state_dict

STRIDES = (4, 8, 16, 32)
FEW_CHANNELS = 16
TRIED = (96, 160)  # an image on which a network shows what its maps are


class AnySizeBlock(SwinTransformerBlock):
    """timm's Swin block, right also where the windows do not divide the map.

    timm shifts a map before it pads it. What the shift wraps around then lies in front of the padding, where the mask,
    which is made for the padded map, takes the two ends of the map for neighbours (timm's issue 2438).
    """

    def __init__(self, plain: SwinTransformerBlock) -> None:
        self.__dict__.update(plain.__dict__)  # everything of it: timm's own constructor would make new weights

    def _attn(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        (height, width), (rows, columns), shift = x.shape[1:3], self.window_size, self.shift_size
        x = F.pad(x, (0, 0, 0, -width % columns, 0, -height % rows))
        padded_height, padded_width = x.shape[1:3]
        x = torch.roll(x, (-shift[0], -shift[1]), dims=(1, 2))
        windows = window_partition(x, self.window_size).flatten(1, 2)
        windows = self.attn(windows, mask=self.get_attn_mask(x)).unflatten(1, (rows, columns))
        x = window_reverse(windows, self.window_size, padded_height, padded_width)
        return torch.roll(x, shift, dims=(1, 2))[:, :height, :width].contiguous()


class PickedConv2d(nn.Conv2d):
    """A strided 1x1 convolution of few channels that picks its positions first, where gradients are wanted.

    In channels-last order on a CPU oneDNN's own backward of such a layer writes past its buffer: the process crashes,
    or gradients are wrong. Seen below 8 channels on a processor whose registers hold 8 values; others hold 16.
    """

    def __init__(self, plain: nn.Conv2d) -> None:
        self.__dict__.update(plain.__dict__)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, O, H, W) at its stride, as of `nn.Conv2d`."""
        if not torch.is_grad_enabled():
            return super().forward(x)
        return F.conv2d(x[..., :: self.stride[0], :: self.stride[1]], self.weight, self.bias)


def pick_positions(layer: nn.Module) -> nn.Module | None:
    """The form above of a layer that needs it, by its shape; None for others."""
    if type(layer) is not nn.Conv2d or layer.in_channels >= FEW_CHANNELS:
        return None
    pointwise = layer.kernel_size == (1, 1) and layer.padding == (0, 0) and layer.groups == 1
    return PickedConv2d(layer) if pointwise and layer.stride != (1, 1) else None


def take_any_size(net: nn.Module) -> nn.Module:
    """Give every Swin block inside of a network the way above. Other networks are left alone."""
    return replace_modules(net, lambda block: AnySizeBlock(block) if type(block) is SwinTransformerBlock else None)


def check_name(name: str) -> None:
    """Raise ValueError, with the nearest names, unless timm knows `name`."""
    architecture = name.split(".")[0].removeprefix("hf_hub:")
    if name.startswith(("hf-hub:", "hf_hub:")) or timm.is_model(architecture):
        return
    known, begin = timm.list_models(), architecture.lower().replace("-", "_")
    near = sorted((one for one in known if begin and one.startswith(begin)), key=lambda one: (len(one), one))[:3]
    near = near or difflib.get_close_matches(begin, known, n=3, cutoff=0.4)
    raise ValueError(f"timm has no model named {name!r}" + (f"; the nearest are {', '.join(near)}" if near else ""))


def create_timm(name: str, pretrained: bool) -> nn.Module:
    """A timm network that returns its intermediate maps, for images of any size."""
    check_name(name)
    entry = timm.model_entrypoint(name.split(".")[0]) if ":" not in name else None
    module = inspect.getmodule(entry) if entry else None
    options = {}
    if module and "swin_transformer" in module.__name__:  # by default they check the image's size
        options["strict_img_size"] = False
    if module and module.__name__.endswith("swin_transformer"):
        # Else the last stage, of one window at 224x224, would have windows that never meet on larger images.
        options["always_partition"] = True
    return replace_modules(take_any_size(fetch(name, pretrained, features_only=True, **options)), pick_positions)


def fetch(name: str, pretrained: bool, **options: bool | int) -> nn.Module:
    """A network of timm's; a ValueError says where its ImageNet weights cannot be had."""
    try:
        return timm.create_model(name, pretrained=pretrained, **options)  # type: ignore[arg-type]
    except (OSError, ConnectionError) as error:
        raise ValueError(
            f"ImageNet weights of {name!r} could not be fetched ({type(error).__name__}); "
            "connect once, or train from scratch with pretrained=false"
        ) from error
    except RuntimeError as error:
        if "pretrained" not in str(error).lower():
            raise
        raise ValueError(f"timm has no ImageNet weights for {name!r}; use pretrained=false") from error


def drop_expansion(net: nn.Module, info: FeatureInfo) -> None:
    """Take the classifier's 1x1 convolution out of a network, where it alone is the last stage (MobileNetV3 and V4)."""
    if not isinstance(net, MobileNetV3Features):
        return
    *_, last = net.blocks
    if isinstance(last, nn.Sequential) and len(last) == 1 and isinstance(last[0], ConvBnAct):
        net.blocks[-1] = nn.Identity()
        info.info[-1]["num_chs"] = last[0].conv.in_channels


def check_maps(net: nn.Module, name: str, levels: list[int], channels: tuple[int, ...]) -> None:
    """Raise ValueError unless the maps at these levels are what the network says of them, by trying.

    Some networks take images of one size only; others do not pad, so that their maps lie elsewhere than a stride says.
    """
    training, (height, width) = net.training, TRIED
    try:
        with torch.no_grad():
            maps = net.eval()(torch.zeros(1, 3, height, width))
    except (AssertionError, RuntimeError, ValueError) as error:
        config = vars(net).get("pretrained_cfg", {})
        size = "x".join(map(str, config.get("input_size", ())[1:])) or "another size"
        raise ValueError(f"{name!r} takes images of {size} only, students any size; choose another backbone") from error
    net.train(training)
    for level, stride, count in zip(levels, STRIDES, channels, strict=True):
        expected = sorted((1, count, height // stride, width // stride))
        if sorted(maps[level].shape) != expected:  # some have the channels last
            got = "x".join(map(str, maps[level].shape))
            raise ValueError(
                f"{name!r} makes a map of {got} at stride {stride} of an image of {height}x{width}, expected {count} "
                f"channels of {height // stride}x{width // stride}; choose another backbone"
            )


def load_plain(net: nn.Module, state: Mapping[str, Tensor], source: str, name: str) -> None:
    """Load weights of the whole network, as timm or EfficientNet-PyTorch saves them, into an extractor of its maps.

    What lies behind the maps is left out. Extractors write `stages_0` for `stages.0`, so names are compared without
    regard to which sign it is.

    Raises:
        ValueError: If a tensor is missing, has another shape or no finite values, or is none of this network's.
    """
    try:
        state = to_timm(state, net)
    except ValueError as error:
        raise ValueError(f"{source} does not fit timm's {name}: {error}") from error
    wanted = net.state_dict()
    ours = {key.replace("_", "."): key for key in wanted}
    weights = {key: value for key, value in wanted.items() if key.endswith("num_batches_tracked")}  # old files lack it
    weights |= {ours[plain]: value for key, value in state.items() if (plain := key.replace("_", ".")) in ours}
    unfit = [key for key, value in wanted.items() if key not in weights or weights[key].shape != value.shape]
    if unfit:
        raise ValueError(
            f"{source} is no checkpoint of timm's {name}: {len(unfit)} of {len(wanted)} tensors are missing or of "
            f"another shape, such as {unfit[0]} (it holds {next(iter(state))}); give the backbone that it is of"
        )
    known = whole_names(name)
    if stray := [key for key in state if key.endswith((".weight", ".bias")) and key not in known]:
        raise ValueError(
            f"{source} is no checkpoint of timm's {name}: it holds {len(stray)} weights more, such as {stray[0]}; give "
            "the backbone that it is of"
        )
    check_values(weights, wanted, source)
    net.load_state_dict(weights)


def whole_names(name: str) -> set[str]:
    """The tensors of timm's whole network."""
    try:
        with torch.device("meta"):
            return set(timm.create_model(name, pretrained=False).state_dict())
    except RuntimeError:  # some plan their depth by the values of tensors
        return set(timm.create_model(name, pretrained=False).state_dict())


class Backbone(nn.Module):
    """image (B, 3, H, W) in [0, 1], sides multiples of 32 -> four maps at strides 4, 8, 16, 32.

    Args:
        name: A timm model with feature maps at these four strides.
        pretrained: Load timm's ImageNet weights.
        expanded: Keep the 1x1 convolution with which some networks widen their last map for the classifier.
        weights: A file of the whole network's, as timm or EfficientNet-PyTorch saves them.
        lg_conv: Wrap convolutions of its stages (after the weights are loaded); "auto": where it has some.
        lg_scope: Which; see `wrap_lg_conv`.

    Attributes:
        wrapped: How many convolutions are.

    Raises:
        FileNotFoundError: If there is no file of weights.
        ValueError: If timm does not know the name, a stride is missing or not kept, only images of one size are taken,
            there is nothing to wrap, or the weights are another network's.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        *,
        pretrained: bool,
        lg_conv: bool | str,
        lg_scope: str = "3x3",
        expanded: bool = True,
        weights: Path | None = None,
    ) -> None:
        super().__init__()
        self.net = create_timm(name, pretrained)
        info = self.net.feature_info
        assert isinstance(info, FeatureInfo)
        if not expanded:
            drop_expansion(self.net, info)
        reductions, channels = info.reduction(), info.channels()
        if missing := [s for s in STRIDES if s not in reductions]:
            raise ValueError(
                f"{name!r} has maps at strides {reductions}, but {missing} are needed; choose another backbone"
            )
        self.levels = [max(i for i, r in enumerate(reductions) if r == s) for s in STRIDES]
        self.channels = tuple(channels[i] for i in self.levels)
        check_maps(self.net, name, self.levels, self.channels)
        if weights is not None:
            load_plain(self.net, read_state_dict(weights), str(weights), name)
        self.channels_last = vars(self.net).get("output_fmt") == Format.NHWC
        self.wrapped = 0
        if lg_conv:
            stride_8 = info.module_name(self.levels[1])
            flattened = stride_8.replace(".", "_", 1)  # some extractors flatten a network's stages
            stride_8 = flattened if flattened in dict(self.net.named_children()) else stride_8
            self.wrapped = wrap_lg_conv(self.net, lg_scope, stride_8)
            if self.wrapped == 0 and lg_conv != AUTO:
                raise ValueError(
                    f"{name!r} has no convolution in its stages that lg_conv would wrap (lg_scope={lg_scope}); "
                    "give student.lg_conv=false, or auto, which wraps where there is something to wrap"
                )
        config = vars(self.net).get("pretrained_cfg", {})
        for key, default in (("mean", (0.485, 0.456, 0.406)), ("std", (0.229, 0.224, 0.225))):
            self.register_buffer(key, torch.tensor(config.get(key, default)).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Image -> its four maps, channels first."""
        maps = self.net((image - self.mean) / self.std)
        maps = [maps[i] for i in self.levels]
        return [m.permute(0, 3, 1, 2) for m in maps] if self.channels_last else maps
