"""The seven rows of Table 2 of Krishna and Khan (IUGC 2025) as commands of this package, at the paper's size.

A row is a training, which starts from a pre-trained encoder where the row has one. What the table does not say: the
first row, which has no pre-training, trains its whole encoder from the beginning (nothing is learned that could be
frozen); ResNet-50 is freed by the layers that answer to HRNet's stages. The last row is the U-Net's pipeline, its
preset `attention` at 512 x 512 (the paper gives neither widths nor schedule). The commands are printed, and need a GPU.
"""

from __future__ import annotations

import argparse
import shlex
import sys

import attrs

DATA, RUNS = "psfhs", "runs/table2"


@attrs.frozen
class Encoder:
    """A pre-training that rows share: its folder, method, preset and settings."""

    name: str
    settings: tuple[str, ...] = ()
    method: str = "hrnet-gan"
    preset: str = "paper"

    @property
    def folder(self) -> str:
        return f"{RUNS}/{self.name}"

    def common(self, *settings: str) -> list[str]:
        """Arguments that pre-training and training have in common, with further settings."""
        given = [part for setting in (*self.settings, *settings) for part in ("--set", setting)]
        return ["--method", self.method, "--data", DATA, "--preset", self.preset, *given, "--device", "cuda"]

    def command(self) -> list[str]:
        """The arguments of ``aop-pose`` that teach it."""
        return ["pretrain", *self.common(), "--list", "unlabelled.txt", "--out", self.folder]


@attrs.frozen
class Row:
    """One row of the table: its settings beside those of the encoder, and the paper's MRE and AoP MAE."""

    name: str
    encoder: Encoder
    settings: tuple[str, ...]
    paper: tuple[float, float]
    pretrained: bool = True

    def command(self) -> list[str]:
        """The arguments of ``aop-pose`` that train the points."""
        init = self.encoder.folder if self.pretrained else "scratch"
        where = ["--labels", "labelled.csv", "--init", init, "--out", f"{RUNS}/{self.name}"]
        return ["train", *self.encoder.common(*self.settings), *where]


HRNET = Encoder("encoder-hrnet")
RESNET = Encoder("encoder-resnet50", ("encoder=resnet50", "thaw=[[150, layer3], [250, layer2]]"))
ATTENTION_UNET = Encoder("encoder-attention-unet", ("image_size=512",), "unet", "attention")
PLAIN = ("attention=false", "adversary=false")
ROWS = (
    Row("hrnet", HRNET, (*PLAIN, "frozen=false", "thaw=[]"), (43.88, 11.24), pretrained=False),
    Row("hrnet-moco-cbam-gan", HRNET, (), (25.66, 8.54)),
    Row("hrnet-moco-cbam", HRNET, ("adversary=false",), (34.83, 12.26)),
    Row("hrnet-moco", HRNET, PLAIN, (35.46, 13.85)),
    Row("resnet50-moco", RESNET, PLAIN, (30.40, 19.29)),
    Row("hrnet-moco-cbam-coordinates", HRNET, ("adversary=false", "output=coordinates"), (29.64, 10.68)),
    Row("attention-unet-mae-coordinates", ATTENTION_UNET, ("head=coordinates",), (31.81, 12.14)),
)


def listing() -> str:
    """Markdown: the commands of the encoders, then those of each row with the paper's figures."""
    lines = ["Encoders:", "```"]
    lines += [shlex.join(["aop-pose", *encoder.command()]) for encoder in (HRNET, RESNET, ATTENTION_UNET)]
    lines += ["```", ""]
    for row in ROWS:
        lines += [f"{row.name} (the paper: {row.paper[0]:.2f} px, {row.paper[1]:.2f} degrees):", "```"]
        lines += [shlex.join(["aop-pose", *row.command()]), "```", ""]
    return "\n".join(lines)


def main() -> int:
    argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python tools/hrnet_rows.py",
    ).parse_args()
    print(listing(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
