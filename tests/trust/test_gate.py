"""The gate, fitted on made-up frames: what it lets through, and what it says where it does not."""

import attrs
import numpy as np
import pytest
from pydantic import ValidationError

from aop_pose.phantom.looks import paint_out
from aop_pose.trust.gate import SIGNALS, bent, gather
from aop_pose.trust.passes import widen
from lib import negatives
from lib.fitting import FRAMES, Sample, fit_gate
from tests.fakes import prediction

POINTS = np.array([[120.0, 70.0], [75.0, 85.0], [160.0, 110.0]])


def frame(rng, symphysis=True, head=True):
    """Speckle with a bright bar from PS1 to PS2 and a bright line along the tangent."""
    y, x = np.mgrid[:256, :256]
    pixels = 60 + 20 * rng.standard_normal((256, 256))
    if symphysis:
        pixels[(np.abs(y - 70 + (x - 120) / 3) < 6) & (x > 75) & (x < 120)] += 120
    if head:
        pixels[np.abs(np.hypot(x - 150, y - 190) - 80) < 4] += 120
    return np.clip(pixels, 0, 255).astype(np.uint8)


def sample(kind, number, score=0.9, spread=None, outlines=None, **shows):
    rng = np.random.default_rng([number, len(kind)])
    points = POINTS + rng.normal(size=POINTS.shape)
    scores, spread = np.full(3, score), None if spread is None else np.array(spread)
    looks = [attrs.evolve(prediction(places, scores, spread), outlines=outlines) for places in (points, points + 0.3)]
    return Sample(kind, number, gather(frame(rng, **shows), *looks))


@pytest.fixture(scope="module")
def gate():
    samples = []
    for number in range(30):
        samples += [
            sample(FRAMES, number),
            sample("symphysis painted out", number, symphysis=False),
            sample("head painted out", number, head=False),
        ]
    return fit_gate(samples, {FRAMES: 30, "symphysis painted out": 30, "head painted out": 30})


def test_frames_pass_and_others_do_not(gate):
    assert gate.judge(sample(FRAMES, 100).evidence).reason == ""
    without = gate.judge(sample("symphysis painted out", 101, symphysis=False).evidence)
    assert without.reason.startswith("withheld: one structure missing: no symphysis is seen")
    assert without.trust < gate.threshold
    headless = gate.judge(sample("head painted out", 102, head=False).evidence)
    assert "no fetal head is seen where FH1 lies" in headless.reason
    neither = gate.judge(sample("noise", 103, symphysis=False, head=False).evidence)
    assert "not the standard plane" in neither.reason


def test_what_is_stored_is_what_judges(gate):
    again = type(gate).model_validate_json(gate.model_dump_json())
    evidence = sample(FRAMES, 104).evidence
    assert again.judge(evidence) == gate.judge(evidence)


def test_a_signal_bends_below_each_knot():
    """At -1.5: itself, 1.5 below 0, 0.5 below -1, nothing below -2; above 0 itself only."""
    np.testing.assert_allclose(bent(np.array([-1.5, 2.0])), [[-1.5, -1.5, -0.5, 0], [2, 0, 0, 0]])


def test_a_head_without_maps_learns_nothing_from_their_width(gate):
    assert gate.coefficients["head_sharpness"] == [0, 0, 0, 0]


def test_the_width_of_the_maps_withholds_by_itself():
    """Pictures that look alike and are found with one score, of which some have a map of two peaks."""
    samples, narrow, wide = [], (0.02, 0.02, 0.02), (0.02, 0.02, 0.2)
    for number in range(30):
        for kind, spread in ((FRAMES, narrow), ("head painted out", wide)):
            samples.append(sample(kind, number, spread=np.multiply(spread, 1 + 0.01 * (number % 5))))
    made = fit_gate(samples, {FRAMES: 30, "head painted out": 30})
    assert made.judge(sample(FRAMES, 100, spread=narrow).evidence).reason == ""
    assert "FH1 may lie in several places" in made.judge(sample(FRAMES, 100, spread=wide).evidence).reason


def test_a_structure_without_outline_withholds_by_itself():
    samples, square = [], 60 * np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
    both, headless = {"PS": square / 2, "FH": square}, {"PS": square / 2, "FH": square / 20}
    for number in range(30):
        for kind, outlines in ((FRAMES, both), ("head painted out", headless)):
            slightly = {name: ring * (1 + 0.01 * (number % 5)) for name, ring in outlines.items()}
            samples.append(sample(kind, number, outlines=slightly))
    made = fit_gate(samples, {FRAMES: 30, "head painted out": 30})
    assert made.judge(sample(FRAMES, 100, outlines=both).evidence).reason == ""
    withheld = made.judge(sample(FRAMES, 100, outlines={"PS": square / 2}).evidence).reason
    assert "no fetal head can be outlined" in withheld


def skull(rng, seen):
    """Speckle with a symphysis and the skull near FH1; the far side of it is ``seen`` or not."""
    y, x = np.mgrid[:256, :256]
    far = np.hypot(x - 160, y - 110) > 110
    return np.where(far & (not seen), frame(rng, head=False), frame(rng))


def test_an_outline_along_which_nothing_is_seen_withholds_by_itself():
    """Pictures that are alike where the points lie, with one outline, which some of them do not show."""
    turn = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    outlines = {"FH": np.stack([150 + 80 * np.cos(turn), 190 + 80 * np.sin(turn)], axis=1)}

    def of(kind, number, seen):
        rng = np.random.default_rng([number, seen])
        look = attrs.evolve(prediction(POINTS + rng.normal(size=(3, 2)), np.full(3, 0.9)), outlines=outlines)
        return Sample(kind, number, gather(skull(rng, seen), look, look))

    samples = [
        of(*one) for number in range(30) for one in ((FRAMES, number, True), ("head painted out", number, False))
    ]
    made = fit_gate(samples, {FRAMES: 30, "head painted out": 30})
    assert made.judge(of(FRAMES, 100, True).evidence).reason == ""
    withheld = made.judge(of(FRAMES, 100, False).evidence).reason
    assert "shows no edge where a fetal head is outlined" in withheld
    # One that is not outlined counts as one whose rim is not there.
    none = attrs.evolve(of(FRAMES, 100, True).evidence, rims={})
    assert made.signals(none)[SIGNALS.index("head_rim")] == -1


@pytest.mark.parametrize("without", [["rim"], ["rim", "outline"]])
def test_a_gate_of_before_a_signal_judges_as_it_did(gate, without):
    stored = gate.model_dump(exclude={"rim"})
    for values in (stored["means"], stored["scales"], stored["coefficients"]):
        for name in without:
            del values[f"symphysis_{name}"], values[f"head_{name}"]
    older = type(gate).model_validate(stored)
    evidence = sample(FRAMES, 104).evidence
    # The network of these pictures has no outlines: nothing was learned from them.
    assert older.judge(evidence) == gate.judge(evidence)


def test_damaged_coefficients_are_refused(gate):
    stored = gate.model_dump()
    stored["coefficients"]["head"] = [1.0]
    with pytest.raises(ValidationError, match="expected 4 of head, found 1"):
        type(gate).model_validate(stored)


def test_the_stated_risk_is_kept_in_the_fit(gate):
    assert gate.fitted["let_through"]["head painted out"] <= 2 * gate.risk


def test_a_second_look_has_its_origin_where_it_says():
    pixels = np.zeros((100, 200), np.uint8)
    pixels[30, 40] = 255
    wider, (x, y) = widen(pixels)
    assert wider[30 + int(y), 40 + int(x)] == 255
    assert wider.shape == (124, 224)


def test_painting_out_changes_the_region_and_nothing_far_from_it():
    rng = np.random.default_rng(0)
    pixels = frame(rng)
    region = np.zeros((256, 256), bool)
    region[60:95, 70:125] = True
    filled = paint_out(pixels, region, rng)
    assert (filled[150:] == pixels[150:]).all()
    assert filled[65:90, 75:120].mean() < pixels[65:90, 75:120].mean() - 10


def test_a_cut_frame_keeps_half_of_the_symphysis():
    pixels = np.arange(256, dtype=np.uint8)[None].repeat(256, axis=0)
    assert (negatives.cut_sector(pixels, POINTS[:2])[0, :5] == [98, 99, 100, 101, 102]).all()
