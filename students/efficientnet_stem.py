"""EfficientNet-B0 in the place of DPT-Hybrid's ResNet stem."""

from __future__ import annotations

from torch import Tensor, nn

from students.backbone import Backbone


class EfficientNetStem(nn.Module):
    """image (B, 3, H, W) in [-1, 1] -> three maps at strides 4, 8 and 16, as wide as the stem's that it replaces.

    The map that becomes tokens is the network's last one, at stride 32, brought to stride 16 by a transposed
    convolution: what ImageNet taught the whole network goes into the transformer. The two taps keep their own stride,
    where the network's first stages still have the detail that the decoder wants of them, and are only widened.

    Args:
        channels: Those of the three maps.
        pretrained: Load timm's ImageNet weights.
    """

    def __init__(self, channels: tuple[int, int, int], *, pretrained: bool) -> None:
        super().__init__()
        self.backbone = Backbone("efficientnet_b0", pretrained=pretrained, lg_conv=False)
        c4, c8, _, c32 = self.backbone.channels
        self.taps = nn.ModuleList([nn.Conv2d(c4, channels[0], 1), nn.Conv2d(c8, channels[1], 1)])
        self.tokens = nn.ConvTranspose2d(c32, channels[2], 2, stride=2)

    def forward(self, image: Tensor) -> list[Tensor]:
        f4, f8, _, f32 = self.backbone(image * 0.5 + 0.5)
        return [self.taps[0](f4), self.taps[1](f8), self.tokens(f32)]
