"""Networks the planner was not written for."""

import torch
from torch import nn


def convolution_pass(inputs, outputs, track=True, inplace=True):
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs, track_running_stats=track),
        nn.ReLU(inplace=inplace),
    ]


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.body = nn.Sequential(*convolution_pass(channels, channels), *convolution_pass(channels, channels)[:2])

    def forward(self, features):
        return torch.relu(features + self.body(features))


class ResidualChain(nn.Sequential):
    """A stem, residual blocks, one map: running statistics, sums, functional activations."""

    def __init__(self, blocks=4, channels=8):
        super().__init__(
            nn.Conv2d(1, channels, 3, padding=1),
            *(Residual(channels) for _ in range(blocks)),
            nn.Conv2d(channels, 1, 1),
        )


class PlainChain(nn.Sequential):
    """Passes with equal channels in a row: all of them can be reversed."""

    def __init__(self, passes=6, channels=8):
        layers = [part for _ in range(passes) for part in convolution_pass(channels, channels)]
        super().__init__(nn.Conv2d(1, channels, 3, padding=1), *layers, nn.Conv2d(channels, 1, 1))


class TwoSkips(nn.Module):
    """A U-Net with two skips whose sizes are read off the skips, padded, and a strided way down."""

    def __init__(self, widths=(8, 12, 16)):
        super().__init__()
        one, two, three = widths
        self.a = nn.Sequential(*convolution_pass(1, one, inplace=False))
        self.b = nn.Sequential(nn.Conv2d(one, two, 3, stride=2, padding=1), nn.InstanceNorm2d(two), nn.LeakyReLU())
        self.c = nn.Sequential(nn.Conv2d(two, three, 3, stride=2, padding=1), nn.GELU())
        self.d = nn.Sequential(*convolution_pass(three + two, two))
        self.e = nn.Sequential(*convolution_pass(two + one, one), *convolution_pass(one, one))
        self.head = nn.Conv2d(one, 1, 1)

    def forward(self, picture):
        full = self.a(picture)
        half = self.b(full)
        deep = self.c(half)
        deep = nn.functional.interpolate(deep, size=half.shape[2:], mode="bilinear", align_corners=False)
        half = self.d(torch.cat([deep, half], 1))
        half = nn.functional.interpolate(half, size=full.shape[2:], mode="nearest")
        return self.head(self.e(torch.cat([half, full], 1)))


class Dropouts(nn.Module):
    """Random numbers in two branches that meet again."""

    def __init__(self, channels=8):
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, padding=1)
        self.left = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.Dropout(0.5), nn.Sigmoid())
        self.right = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.Dropout2d(0.5), nn.Tanh())
        self.end = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.Dropout(0.3), nn.Conv2d(channels, 1, 1)
        )

    def forward(self, picture):
        features = self.stem(picture)
        return self.end(self.left(features) * self.right(features))


class Shared(nn.Module):
    """One convolution and one norm with running statistics called four times; a parameter used directly."""

    def __init__(self, channels=8):
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, padding=1)
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.activation = nn.ReLU()
        self.scale = nn.Parameter(torch.full((1, channels, 1, 1), 0.5))

    def forward(self, picture):
        features = self.stem(picture)
        for _ in range(4):
            features = features + self.activation(self.norm(self.convolution(features))) * self.scale
        return {"map": features.mean(1, keepdim=True), "features": features}


class DirectNorm(nn.Module):
    """Normalised by a function that is given running statistics, between convolutions that are recomputed."""

    def __init__(self, channels=8):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(1 if not n else channels, channels, 3, padding=1) for n in range(5))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("spread", torch.ones(channels))

    def forward(self, picture):
        features = picture
        for layer in self.layers:
            features = torch.sigmoid(layer(features))
            features = nn.functional.batch_norm(features, self.mean, self.spread, training=True)
        return features


class ReadTwice(nn.Module):
    """A value that one operation takes twice and another once: three gradients are added up."""

    def __init__(self, channels=8):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, channels, 3, padding=1), nn.Tanh())
        self.short = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.Sigmoid())
        self.long = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.Tanh(), nn.Sigmoid(), nn.Tanh())
        self.end = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.Sigmoid(), nn.Conv2d(channels, 1, 1))

    def forward(self, picture):
        features = self.stem(picture)
        return self.end(self.short(features * features) * self.long(features))


class CumulativeNorms(nn.Sequential):
    """Running statistics that are means over all batches: momentum None."""

    def __init__(self, channels=8):
        super().__init__(
            nn.Conv2d(1, channels, 3, padding=1),
            *(
                part
                for _ in range(4)
                for part in (
                    nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels, momentum=None), nn.Sigmoid()
                )
            ),
            nn.Conv2d(channels, 1, 1),
        )  # fmt: skip


class Query(nn.Module):
    """A pass that is given a learned tensor: it cannot be computed backwards."""

    def __init__(self, channels=8):
        super().__init__()
        self.query = nn.Parameter(torch.randn(2, channels, 32, 32, generator=torch.Generator().manual_seed(0)))
        self.body = nn.Sequential(*convolution_pass(channels, channels))
        self.end = nn.Sequential(*convolution_pass(channels, channels), nn.Conv2d(channels, 1, 1))

    def forward(self, picture):
        return self.end(self.body(self.query) + picture)


NETWORKS = {
    "residual chain": ResidualChain,
    "chain of passes": PlainChain,
    "two skips": TwoSkips,
    "dropout": Dropouts,
    "shared modules": Shared,
}


def picture(size=32, batch=2):
    return torch.randn(batch, 1, size, size, generator=torch.Generator().manual_seed(0))


class Functional(nn.Module):
    """Passes whose activations are functions and methods, one of them leaky, in a row."""

    def __init__(self, channels=8):
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, padding=1)
        self.layers = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(4))
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(4))
        self.end = nn.Conv2d(channels, 1, 1)

    def forward(self, picture):
        features = self.stem(picture)
        features = nn.functional.relu(self.norms[0](self.layers[0](features)), inplace=True)
        features = self.norms[1](self.layers[1](features)).relu()
        features = nn.functional.leaky_relu(self.norms[2](self.layers[2](features)), 0.3)
        return self.end(torch.relu(self.norms[3](self.layers[3](features))))


class Ladder(nn.Module):
    """3-D: transposed convolutions up, concatenations with what is not enlarged, functional activations."""

    def __init__(self, widths=(6, 10)):
        super().__init__()
        one, two = widths
        self.a, self.b = nn.Conv3d(1, one, 3, padding=1), nn.Conv3d(one, two, 2, stride=2)
        self.up = nn.ConvTranspose3d(two, one, 2, stride=2)
        self.joined = nn.Conv3d(2 * one, one, (5, 3, 3), padding=(2, 1, 1))
        self.head = nn.Conv3d(one, 2, 1)

    def forward(self, volume):
        full = torch.relu(self.a(volume))
        deep = nn.functional.gelu(self.b(full))
        return self.head(torch.relu(self.joined(torch.cat([self.up(deep), full], 1))))


class Dense(nn.Module):
    """3-D: convolutions read all before them, dilated and grouped ones too; one value is enlarged by nearest voxels."""

    def __init__(self, growth=4):
        super().__init__()
        self.stem = nn.Conv3d(1, growth, 3, padding=1)
        self.one = nn.Conv3d(2 * growth, growth, 3, padding=2, dilation=2, bias=False)
        self.norm = nn.InstanceNorm3d(growth, affine=True)
        self.two = nn.Conv3d(2 * growth, 2 * growth, 3, padding=1, groups=2)
        self.pool, self.grow = nn.AvgPool3d(2), nn.Upsample(scale_factor=2)
        self.head = nn.Conv3d(2 * growth, 1, 1)

    def forward(self, volume):
        first = torch.tanh(self.stem(volume))
        second = nn.functional.leaky_relu(
            self.norm(self.one(torch.cat([self.grow(self.pool(first)), first], dim=1))), 0.2
        )
        return self.head(torch.sigmoid(self.two(torch.cat([first, second], dim=1))))


class Rows(nn.Module):
    """3-D: two rows of passes with running statistics around a residual sum."""

    def __init__(self, channels=8):
        super().__init__()

        def row(length):
            parts = [
                part
                for _ in range(length)
                for part in (
                    nn.Conv3d(channels, channels, 3, padding=1),
                    nn.BatchNorm3d(channels),
                    nn.ELU(inplace=True),
                )
            ]
            return nn.Sequential(*parts)

        self.stem, self.one, self.two = nn.Conv3d(1, channels, 3, padding=1), row(3), row(2)
        self.head = nn.Conv3d(channels, 2, 1)

    def forward(self, volume):
        features = self.stem(volume)
        return self.head(self.two(features + self.one(torch.sigmoid(features))))


FOREIGN = {"ladder": Ladder, "dense": Dense, "rows": Rows}


def volume(size=(24, 16, 16), batch=1, kind=torch.float32):
    return torch.randn(batch, 1, *size, generator=torch.Generator().manual_seed(0)).to(kind)
