"""Schema ``aop``: both ends of the pubic symphysis, and where the tangent from its inferior end touches the head."""

from aop_pose import geometry
from aop_pose.core.schema import ORIGIN, REGION, Quantity, Readers, Schema

AOP = Schema(
    name="aop",
    points=("PS1", "PS2", "FH1"),
    lines=(("PS1", "PS2"), ("PS1", "FH1")),
    quantities=(
        Quantity(
            "aop", "deg", "AoP", geometry.angle_of_progression, ("PS1", "PS2", "FH1"), missing=180.0,
            unfolded=geometry.turn_of_progression,
            interval="aop", interval_beside=True, mark="arc", main=True, label_column="AoP", tolerance=0.1,
            within=(5, 10), 
            thresholds={
                110: "Torkildsen 2011: vaginal delivery after a prolonged first stage",
                120: "Kalache 2009: vacuum or spontaneous delivery after a prolonged second stage",
                140: "ISUOG 2018: head station of about +2 cm (138° in its table)",
            },
            readers=(
                Readers("nine readers of stored images", "Dückelmann 2010", icc=0.72),
                Readers("two readers, sagittal", "Frick 2020", icc=0.74),
                Readers("PSFHS pictures labelled twice, 4 pairs", "docs/results.md", limits=(-14.0, 14.0)),
                Readers("breech progression angle, two readers", "Youssef 2021", limits=(-14.4, 13.6)),
            ),
        ),
        Quantity(
            "hsd", "px", "HSD", geometry.head_symphysis_distance, ("PS1",), needs_outline=True, interval="hsd_px"
        ),
        Quantity(
            "hsd", "mm", "HSD", geometry.head_symphysis_distance, ("PS1",), needs_outline=True, interval="hsd_mm"
        ),
    ),
    finds_region=True,
    further=(*REGION, "mirrored", "hsd_px_low", "hsd_px_high", "hsd_mm_low", "hsd_mm_high", *ORIGIN),
)  # fmt: skip
