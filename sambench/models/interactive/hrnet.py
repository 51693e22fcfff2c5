"""HRNet with an OCR head, the backbone of RITM (Sun et al., CVPR 2019; Yuan et al., ECCV 2020).

Modules bear the names of the authors' checkpoints (``isegm/model/modeling/hrnet_ocr.py``, ``ocr.py``), so that these
load as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.utils.fusion import fuse_conv_bn_eval


def upsampled(x: Tensor, like: Tensor) -> Tensor:
    """``(B, C, h, w)`` at the height and width of ``like``, bilinear, the centres of the corner pixels on each
    other."""
    return interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)


def convolution(into: int, out: int, side: int, stride: int = 1, *, bias: bool = False) -> nn.Conv2d:
    """A square kernel whose output is as large as the input, or ``stride`` times smaller."""
    return nn.Conv2d(into, out, side, stride, padding=side // 2, bias=bias)


def normalised(into: int, out: int, side: int, stride: int = 1, *, bias: bool = False) -> list[nn.Module]:
    return [convolution(into, out, side, stride, bias=bias), nn.BatchNorm2d(out)]


def activated(into: int, out: int, side: int, stride: int = 1, *, bias: bool = False) -> list[nn.Module]:
    return [*normalised(into, out, side, stride, bias=bias), nn.ReLU(inplace=True)]


class _Residual(nn.Module):
    """``convolutions``: pairs named conv1, bn1, conv2, bn2, ... with activations between and after the sum."""

    def __init__(self, convolutions: Sequence[nn.Conv2d]) -> None:
        super().__init__()
        self.depth = len(convolutions)
        for i, module in enumerate(convolutions, start=1):
            setattr(self, f"conv{i}", module)
            setattr(self, f"bn{i}", nn.BatchNorm2d(module.out_channels))
        into, out = convolutions[0].in_channels, convolutions[-1].out_channels
        self.downsample = None if into == out else nn.Sequential(*normalised(into, out, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for i in range(1, self.depth + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            if i < self.depth:
                y = y.relu_()
        return (y + (x if self.downsample is None else self.downsample(x))).relu_()


class BasicBlock(_Residual):
    def __init__(self, into: int, width: int) -> None:
        super().__init__([convolution(into, width, 3), convolution(width, width, 3)])


class Bottleneck(_Residual):
    """Its output has four times ``width`` channels."""

    def __init__(self, into: int, width: int) -> None:
        super().__init__([convolution(into, width, 1), convolution(width, width, 3), convolution(width, 4 * width, 1)])


class Exchange(nn.Module):
    """Branches of falling resolution, each some blocks deep, whose results are then summed into every branch."""

    def __init__(self, widths: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(BasicBlock(w, w) for _ in range(blocks))) for w in widths)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(self._path(widths, source, target) for source in range(len(widths)))
            for target in range(len(widths))
        )

    @staticmethod
    def _path(widths: Sequence[int], source: int, target: int) -> nn.Module:
        if source == target:
            return nn.Identity()
        into, out = widths[source], widths[target]
        if source > target:
            return nn.Sequential(*normalised(into, out, 1))
        halvings = [nn.Sequential(*activated(into, into, 3, 2)) for _ in range(target - source - 1)]
        return nn.Sequential(*halvings, nn.Sequential(*normalised(into, out, 3, 2)))

    def forward(self, x: Sequence[Tensor]) -> list[Tensor]:
        x = [branch(part) for branch, part in zip(self.branches, x, strict=True)]
        out = []
        for target, paths in enumerate(self.fuse_layers):
            assert isinstance(paths, nn.ModuleList)
            first, *others = (
                upsampled(path(part), x[target]) if source > target else path(part)
                for source, (path, part) in enumerate(zip(paths, x, strict=True))
            )
            out.append(sum(others, start=first).relu_())
        return out


class ObjectContext(nn.Module):
    """The object-contextual representation of a single region: each pixel's features beside those of the region.

    ``channels``: of the features. ``keys``: of what pixel and region are compared by. With one region the attention of
    a pixel is 1 whatever it sees (a softmax over one value), so that ``f_pixel`` and ``f_object`` change nothing; they
    are here because the checkpoints hold them.
    """

    def __init__(self, channels: int, keys: int) -> None:
        super().__init__()

        def layers(into: int, *outs: int) -> nn.Sequential:
            parts: list[nn.Module] = []
            for out in outs:
                parts += [convolution(into, out, 1), nn.Sequential(nn.BatchNorm2d(out), nn.ReLU(inplace=True))]
                into = out
            return nn.Sequential(*parts)

        self.object_context_block = nn.ModuleDict(
            {
                "f_pixel": layers(channels, keys, keys),
                "f_object": layers(channels, keys, keys),
                "f_down": layers(channels, keys),
                "f_up": layers(keys, channels),
            }
        )
        self.conv_bn_dropout = layers(2 * channels, channels)

    def forward(self, features: Tensor, region: Tensor) -> Tensor:
        """``features``: ``(B, C, h, w)``. ``region``: ``(B, C, 1, 1)``, their mean over the region."""
        block = self.object_context_block
        context = block["f_up"](block["f_down"](region)).expand_as(features)
        out: Tensor = self.conv_bn_dropout(torch.cat([context, features], 1))
        return out


class HighResolutionNet(nn.Module):
    """Four resolutions side by side, from a quarter of the input on.

    ``width``: channels of the highest. ``ocr_width``: keys of the OCR head, 0 for a plain head. ``small``: half the
    blocks in each branch and fewer exchanges between the branches.
    """

    def __init__(self, width: int, ocr_width: int, small: bool) -> None:
        super().__init__()
        self.ocr_width = ocr_width
        blocks = 2 if small else 4
        widths = [width * 2**i for i in range(4)]
        self.conv1, self.bn1 = normalised(3, 64, 3, 2)
        self.conv2, self.bn2 = normalised(64, 64, 3, 2)
        self.layer1 = nn.Sequential(Bottleneck(64, 64), *(Bottleneck(256, 64) for _ in range(blocks - 1)))
        self.transition1 = nn.ModuleList(
            [
                nn.Sequential(*activated(256, widths[0], 3)),
                nn.Sequential(nn.Sequential(*activated(256, widths[1], 3, 2))),
            ]
        )
        self.stage2 = nn.Sequential(Exchange(widths[:2], blocks))
        self.transition2 = self._one_more(widths[:3])
        self.stage3 = nn.Sequential(*(Exchange(widths[:3], blocks) for _ in range(3 if small else 4)))
        self.transition3 = self._one_more(widths)
        self.stage4 = nn.Sequential(*(Exchange(widths, blocks) for _ in range(2 if small else 3)))
        total = sum(widths)
        if ocr_width:
            channels = 2 * ocr_width
            self.conv3x3_ocr = nn.Sequential(*activated(total, channels, 3, bias=True))
            self.ocr_distri_head = ObjectContext(channels, ocr_width)
            self.cls_head: nn.Module = convolution(channels, 1, 1, bias=True)
            self.aux_head = nn.Sequential(*activated(total, total, 1, bias=True), convolution(total, 1, 1, bias=True))
        else:
            self.cls_head = nn.Sequential(*activated(total, total, 3, bias=True), convolution(total, 1, 1, bias=True))

    @staticmethod
    def _one_more(widths: Sequence[int]) -> nn.ModuleList:
        """From the branches of a stage to the next, which has one more at half the lowest resolution."""
        new = nn.Sequential(nn.Sequential(*activated(widths[-2], widths[-1], 3, 2)))
        return nn.ModuleList([*(nn.Identity() for _ in widths[:-1]), new])

    def forward(self, image: Tensor, features: Tensor | None = None) -> Tensor:
        """``image``: ``(B, 3, h, w)`` float32, normalised. ``features``: ``(B, 64, ceil(h/2), ceil(w/2))``, added after
        the first convolution. Answers ``(B, 1, ceil(h/4), ceil(w/4))`` logits."""
        x = self.bn1(self.conv1(image)).relu_()
        if features is not None:
            x = x + features
        x = self.layer1(self.bn2(self.conv2(x)).relu_())
        branches = [transition(x) for transition in self.transition1]
        for stage, transition in ((self.stage2, self.transition2), (self.stage3, self.transition3)):
            branches = stage(branches)
            branches = [*branches, transition[-1](branches[-1])]
        branches = self.stage4(branches)
        x = torch.cat([branches[0], *(upsampled(part, branches[0]) for part in branches[1:])], 1)
        if not self.ocr_width:
            plain: Tensor = self.cls_head(x)
            return plain
        weights = self.aux_head(x).flatten(2).softmax(2)
        x = self.conv3x3_ocr(x)
        region = (weights @ x.flatten(2).mT).mT[..., None]
        logits: Tensor = self.cls_head(self.ocr_distri_head(x, region))
        return logits


def folded(module: nn.Module) -> nn.Module:
    """``module`` with each batch norm that directly follows a convolution multiplied into it: the same function, fewer
    passes over memory. Changes the module, which has to be in inference mode and registers what follows one another in
    this order, as all of this file do."""
    name, before = "", None
    for own, child in list(module.named_children()):
        holder, at = (child, "0") if isinstance(child, nn.Sequential) else (module, own)
        norm = getattr(holder, at, None)
        if before is not None and isinstance(norm, nn.BatchNorm2d):
            setattr(module, name, fuse_conv_bn_eval(before, norm))
            setattr(holder, at, nn.Identity())
        else:
            folded(child)
        name, before = own, child if isinstance(child, nn.Conv2d) else None
    return module
