"""DICOM becomes frames: every way of storing pixels, the window of the file, the region and its millimetres."""

import io
import shutil
import subprocess
import tracemalloc
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from aop_pose.core.frame import Frame
from aop_pose.errors import UnreadableError
from aop_pose.io.clinic.dicom import parts_of, quiet, window
from aop_pose.io.clinic.study import about
from aop_pose.io.clinic.video import ALL, Selection
from aop_pose.io.discover import Entry
from aop_pose.io.images import read_frame, read_frames
from tests.dicom_files import dataset, jpeg_frames, pydicom, region, save, save_jpeg

RNG = np.random.default_rng(20)
GRAY = cv2.GaussianBlur(RNG.integers(0, 256, (60, 80), dtype=np.uint8), (5, 5), 0)
COLOUR = np.stack([GRAY, GRAY[::-1], 255 - GRAY], axis=-1)
LUMA = COLOUR @ np.array([0.299, 0.587, 0.114])
CINE = np.stack([np.roll(GRAY, 3 * number, axis=1) for number in range(5)])


def frames_of(path: Path, wanted: Selection = ALL) -> list[Frame]:
    return list(read_frames(Entry(path, path.name), wanted))


def refusal(path: Path) -> str:
    with pytest.raises(UnreadableError) as refused:
        frames_of(path)
    return str(refused.value)


@pytest.mark.parametrize(
    "syntax",
    [
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
        JPEG2000Lossless,
    ],
)
def test_gray_is_the_same_in_every_lossless_transfer_syntax(tmp_path: Path, syntax: str) -> None:
    frames = frames_of(save(tmp_path / "IM1", dataset(GRAY), syntax))
    assert [frame.index for frame in frames] == [0]
    np.testing.assert_array_equal(frames[0].pixels, GRAY)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless, JPEGLSLossless])
def test_colour_is_its_luma(tmp_path: Path, syntax: str) -> None:
    np.testing.assert_allclose(read_frame(save(tmp_path / "a.dcm", dataset(COLOUR), syntax)).pixels, LUMA, atol=0.6)


def test_planar_colour_is_the_same(tmp_path: Path) -> None:
    made = dataset(COLOUR)
    made.PlanarConfiguration, made.PixelData = 1, COLOUR.transpose(2, 0, 1).tobytes()
    np.testing.assert_allclose(read_frame(save(tmp_path / "a.dcm", made)).pixels, LUMA, atol=0.6)


def test_the_luma_of_ybr_is_the_gray(tmp_path: Path) -> None:
    full = np.full((60, 80, 3), 128, np.uint8)
    full[..., 0] = GRAY
    path = save(tmp_path / "full.dcm", dataset(full, photometric="YBR_FULL"))
    np.testing.assert_allclose(read_frame(path).pixels, GRAY, atol=1)
    # Y Y Cb Cr for each pair of pixels.
    pairs = np.full((60, 40, 4), 128, np.uint8)
    pairs[..., :2] = GRAY.reshape(60, 40, 2)
    for kind in ("YBR_FULL_422", "YBR_PARTIAL_422"):
        path = save(tmp_path / f"{kind}.dcm", dataset(full, photometric=kind, PixelData=pairs.tobytes()))
        partial = np.clip((GRAY.astype(float) - 16) * 255 / 219, 0, 255)
        expected = partial if "PARTIAL" in kind else GRAY
        np.testing.assert_allclose(read_frame(path).pixels, expected, atol=1.6)
    # Said to be sub-sampled, and stored in full, as some devices do.
    path = save(tmp_path / "said.dcm", dataset(full, photometric="YBR_FULL_422"))
    np.testing.assert_allclose(read_frame(path).pixels, GRAY, atol=1)


def test_a_palette_is_looked_up_and_its_indices_are_not_the_picture(tmp_path: Path) -> None:
    table = RNG.permutation(256).astype(np.uint16)
    for bits, stored in ((16, table << 8), (8, table.astype(np.uint8)), (16, table)):
        made = dataset(GRAY, photometric="PALETTE COLOR")
        for name in ("Red", "Green", "Blue"):
            setattr(made, f"{name}PaletteColorLookupTableDescriptor", [256, 0, bits])
            setattr(made, f"{name}PaletteColorLookupTableData", stored.tobytes())
        np.testing.assert_array_equal(read_frame(save(tmp_path / "a.dcm", made)).pixels, table[GRAY].astype(np.uint8))


def test_white_is_zero_is_turned_over(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", dataset(GRAY, photometric="MONOCHROME1"))
    np.testing.assert_array_equal(read_frame(path).pixels, 255 - GRAY)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless, JPEG2000Lossless])
def test_twelve_bits_are_shown_by_the_window_of_the_file(tmp_path: Path, syntax: str) -> None:
    deep = GRAY.astype(np.uint16) * 16
    made = dataset(deep, BitsStored=12, HighBit=11, WindowCenter=["1000", "7"], WindowWidth=["801", "3"])
    pixels = read_frame(save(tmp_path / "a.dcm", made, syntax)).pixels
    # PS3.3 C.11.2.1.2.1: black up to 1000 - 0.5 - 400, white from 1000 - 0.5 + 400 on.
    expected = np.clip((deep.astype(float) - 599.5) / 800, 0, 1) * 255
    np.testing.assert_allclose(pixels, expected, atol=0.51)


def test_a_window_is_the_one_of_the_standard() -> None:
    values = np.array([0, 599, 600, 1000, 1399, 1400, 4095])
    assert window(values, 1000, 801).tolist() == [0, 0, 0, 128, 255, 255, 255]
    assert window(np.array([600, 1000, 1400]), 1000, 800, "LINEAR_EXACT").tolist() == [0, 128, 255]
    # 1 / (1 + exp(-4 * 200 / 800)) = 0.7311.
    assert window(np.array([1000, 1200]), 1000, 800, "SIGMOID").tolist() == [128, 186]


def test_a_window_that_is_none_is_passed_over(tmp_path: Path) -> None:
    for width in ("0", "-5", "1"):
        path = save(tmp_path / "a.dcm", dataset(GRAY, WindowCenter="100", WindowWidth=width))
        np.testing.assert_array_equal(read_frame(path).pixels, GRAY)


def test_a_table_of_values_of_interest_goes_before_the_window(tmp_path: Path) -> None:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [256, 0, 8], (255 - np.arange(256, dtype=np.uint16)).tobytes()
    item["LUTData"].VR = "OW"
    made = dataset(GRAY, WindowCenter="1", WindowWidth="2", VOILUTSequence=[item])
    np.testing.assert_array_equal(read_frame(save(tmp_path / "a.dcm", made)).pixels, 255 - GRAY)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless, JPEGLSLossless])
def test_a_cine_has_a_frame_a_frame_with_its_time(tmp_path: Path, syntax: str) -> None:
    frames = frames_of(save(tmp_path / "a.dcm", dataset(CINE, frames=5, FrameTime="40"), syntax))
    np.testing.assert_array_equal(np.stack([frame.pixels for frame in frames]), CINE)
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert [frame.time_s for frame in frames] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])


def test_times_come_from_steps_that_differ_or_a_rate_or_not_at_all(tmp_path: Path) -> None:
    def times(**elements: object) -> list[float | None]:
        return [frame.time_s for frame in frames_of(save(tmp_path / "a.dcm", dataset(CINE, frames=5, **elements)))]

    assert times(FrameTimeVector=["0", "40", "50", "40", "70"]) == pytest.approx([0, 0.04, 0.09, 0.13, 0.2])
    assert times(CineRate=20) == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert times() == [None] * 5
    assert times(FrameTime="0") == [None] * 5


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_frames_are_chosen_by_number_and_by_time(tmp_path: Path, syntax: str) -> None:
    path = save(tmp_path / "a.dcm", dataset(CINE, frames=5, FrameTime="40"), syntax)
    assert [frame.index for frame in frames_of(path, Selection(every=2))] == [0, 2, 4]
    assert [frame.index for frame in frames_of(path, Selection(start=0.04, end=0.125))] == [1, 2, 3]
    untimed = save(tmp_path / "b.dcm", dataset(CINE, frames=5), syntax)
    assert [frame.index for frame in frames_of(untimed, Selection(every=3))] == [0, 3]
    with pytest.raises(UnreadableError, match="states none; use --every"):
        frames_of(untimed, Selection(end=0.1))
    still = save(tmp_path / "c.dcm", dataset(GRAY), syntax)
    assert len(frames_of(still, Selection(every=7, start=5))) == 1


@pytest.mark.parametrize("has_bot", [True, False])
@pytest.mark.parametrize("fragments", [1, 3])
def test_a_frame_may_lie_in_several_fragments_with_offsets_and_without(
    tmp_path: Path, has_bot: bool, fragments: int
) -> None:
    path = tmp_path / "a.dcm"
    save_jpeg(path, dataset(CINE, frames=5), jpeg_frames(CINE), fragments_per_frame=fragments, has_bot=has_bot)
    frames = frames_of(path)
    assert len(frames) == 5
    for frame, pixels in zip(frames, CINE, strict=True):
        np.testing.assert_allclose(frame.pixels, pixels, atol=24)


def test_a_file_without_its_beginning_is_read_by_its_suffix(tmp_path: Path) -> None:
    for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian):
        made = dataset(GRAY)
        buffer = io.BytesIO()
        pydicom.dcmwrite(
            buffer, Dataset(made), implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian
        )
        (tmp_path / "a.dcm").write_bytes(buffer.getvalue())
        np.testing.assert_array_equal(read_frame(tmp_path / "a.dcm").pixels, GRAY)


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_a_truncated_cine_gives_its_whole_frames_and_says_how_many(tmp_path: Path, syntax: str) -> None:
    path = save(tmp_path / "a.dcm", dataset(CINE, frames=5), syntax)
    path.write_bytes(path.read_bytes()[: -GRAY.size // 2])
    seen: list[Frame] = []
    with pytest.raises(UnreadableError, match=r"truncated: the pixels of 4 of its 5 frames are there"):
        seen.extend(read_frames(Entry(path, "a")))
    np.testing.assert_array_equal(np.stack([frame.pixels for frame in frames_seen(path)]), CINE[:4])


def frames_seen(path: Path) -> list[Frame]:
    seen = []
    reading = read_frames(Entry(path, "a"))
    while True:
        try:
            seen.append(next(reading))
        except (StopIteration, UnreadableError):
            return seen


def test_a_jpeg_without_its_end_is_truncated(tmp_path: Path) -> None:
    stream = jpeg_frames([GRAY])[0]
    path = save_jpeg(tmp_path / "a.dcm", dataset(GRAY), [stream[:-200]])
    assert refusal(path) == "truncated: the JPEG has no end marker"


def test_what_holds_no_picture_says_what_it_is(tmp_path: Path) -> None:
    made = dataset(GRAY)
    del made.PixelData
    assert refusal(save(tmp_path / "a.dcm", made)) == "no pixels in it: the header ends without them"
    del made.Rows
    made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"
    assert refusal(save(tmp_path / "b.dcm", made)) == "no picture in it: Comprehensive SR Storage"
    (tmp_path / "c.dcm").write_bytes(b"not at all")
    assert refusal(tmp_path / "c.dcm") == "not a DICOM file, or damaged at its beginning"


@pytest.mark.parametrize(
    ("syntax", "name", "what"),
    [
        ("1.2.840.10008.1.2.4.110", "JPEG XL Lossless", "have it stored uncompressed or as JPEG 2000"),
        ("1.2.840.10008.1.2.4.102", "MPEG-4 AVC/H.264 High Profile / Level 4.1", "export the clip as MP4 or AVI"),
        ("1.2.840.10008.1.2.4.107", "HEVC/H.265 Main Profile", "export the clip as MP4 or AVI"),
        ("1.2.840.113619.9999.5.9", "1.2.840.113619.9999", "store it uncompressed"),
    ],
)
def test_a_transfer_syntax_that_nothing_decodes_is_named_with_what_to_do(
    tmp_path: Path, syntax: str, name: str, what: str
) -> None:
    known = "1.2.840.10008.1.2.4.102"
    path = save_jpeg(tmp_path / "a.dcm", dataset(GRAY), [bytes(64)], syntax=known)
    path.write_bytes(path.read_bytes().replace(known.encode(), syntax.encode()))
    said = refusal(path)
    assert name[:20] in said
    assert "is not decoded; " in said
    assert what in said


def test_a_decoder_that_is_not_installed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.dcm", dataset(GRAY), JPEGLSLossless)
    monkeypatch.setattr(pydicom.pixels.decoders.base.Decoder, "is_available", property(lambda self: False))
    assert refusal(path).startswith("its transfer syntax JPEG-LS Lossless Image Compression needs a decoder; install")


def test_without_pydicom_a_row_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "IM1", dataset(GRAY))
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    assert refusal(path) == "DICOM cannot be read; install what DICOM needs: pip install 'aop-pose[dicom]'"


def test_a_deflated_trap_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aop_pose.io.pixels.FREE_BYTES", 1_000_000)
    made = dataset(np.zeros((10, 1000, 1000), np.uint8), frames=10)
    path = save(tmp_path / "b.dcm", made, DeflatedExplicitVRLittleEndian)
    assert refusal(path).startswith("too large: ")


def test_a_header_too_large_is_refused_before_anything_is_decoded(tmp_path: Path) -> None:
    made = dataset(GRAY, Rows=60000, Columns=60000)
    assert refusal(save(tmp_path / "a.dcm", made)).startswith("too large: 60000 x 60000 pixels")


def test_no_warning_and_no_value_of_a_patient_is_passed_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made = dataset(GRAY, PatientName="Müller^Zoë", SpecificCharacterSet="ISO_IR 999", PatientBirthDate="20010203")
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    with pytest.warns(UserWarning, match="encoding"):
        save(tmp_path / "a.dcm", made)
    np.testing.assert_array_equal(read_frame(tmp_path / "a.dcm").pixels, GRAY)
    path = save(tmp_path / "b.dcm", dataset(GRAY, BitsAllocated=7))
    assert refusal(path).startswith("damaged: DICOM that cannot be decoded (")
    assert capfd.readouterr() == ("", "")


def test_numbers_that_are_none_in_a_header_are_one_line_and_say_nothing(tmp_path: Path) -> None:
    made = dataset(GRAY, regions=[region((0, 0, 79, 59))])
    path = save(tmp_path / "a.dcm", made)
    content = path.read_bytes()
    for word in (b"US\x02\x00", b"FD\x08\x00", b"SQ\x00\x00"):
        at = content.index(word, 400)
        (tmp_path / "b.dcm").write_bytes(content[:at] + b"XX" + content[at + 2 :])
        with suppress(UnreadableError):
            frames_of(tmp_path / "b.dcm")
        assert about(Entry(tmp_path / "b.dcm", "b")) is not None
    del made.Rows
    with quiet():
        made.SOPClassUID = "MILLER"
        save(tmp_path / "c.dcm", made)
    assert refusal(tmp_path / "c.dcm") == "no picture in it: no rows and columns"


# --- regions ----------------------------------------------------------------------------------------------------------


def parts(*items: Dataset, size: tuple[int, int] = (640, 480)) -> list[tuple[str, tuple[float, float] | None]]:
    return [(str(found), spacing) for found, spacing in parts_of(items, *size)]


def test_the_tissue_in_two_dimensions_is_the_region() -> None:
    screen = region((0, 0, 639, 463), (1, 1), units=(0, 0), kind=0)
    trace = region((100, 400, 500, 460), (0.01, 0.0), units=(4, 0), kind=4, data=10)
    flow = region((150, 100, 300, 300), kind=1, data=2)
    tissue = region((84, 48, 483, 415), (0.009536785180637355, 0.009536785180637355))
    assert parts(screen, trace, tissue, flow) == [("84,48,400,368", pytest.approx((0.0953679, 0.0953679), abs=1e-7))]


def test_deltas_are_sizes_whatever_their_sign_and_rows_stand_before_columns() -> None:
    assert parts(region((0, 0, 99, 99), (-0.02, 0.03))) == [("0,0,100,100", pytest.approx((0.3, 0.2)))]


@pytest.mark.parametrize(
    ("deltas", "units"),
    [
        ((0.0, 0.02), (3, 3)), ((0.02, 0.0), (3, 3)), ((float("nan"), 0.02), (3, 3)), ((float("inf"), 0.02), (3, 3)),
        ((4.0, 4.0), (3, 3)), ((1e-9, 1e-9), (3, 3)), ((0.02, 0.02), (4, 3)), ((0.02, 0.02), (0, 0)),
        ((0.02, 0.02), (7, 7)),
    ],
)  # fmt: skip
def test_zero_and_absurd_deltas_and_other_units_give_no_millimetres(
    deltas: tuple[float, float], units: tuple[int, int]
) -> None:
    assert parts(region((0, 0, 99, 99), deltas, units=units)) == [("0,0,100,100", None)]


def test_an_inconsistent_table_is_no_reason_to_guess() -> None:
    assert parts(region((300, 0, 100, 99))) == []
    assert parts(region((700, 0, 900, 99))) == []
    assert parts(region((600, 0, 900, 99))) == [("600,0,40,100", pytest.approx((0.2, 0.2)))]
    assert parts(region((0, 0, 10, 400))) == []
    assert parts(Dataset()) == []
    twice = (region((0, 0, 99, 99)), region((0, 0, 99, 99)))
    assert parts(*twice) == [("0,0,100,100", pytest.approx((0.2, 0.2)))]
    assert parts(twice[0], region((0, 0, 99, 99), (0.03, 0.03))) == [("0,0,100,100", None)]


def test_a_frame_has_the_region_or_a_choice_of_them(tmp_path: Path) -> None:
    left, right = region((0, 0, 39, 59), (0.02, 0.02)), region((40, 0, 79, 59), (0.03, 0.03))
    one = read_frame(save(tmp_path / "a.dcm", dataset(GRAY, regions=[left])))
    assert (str(one.region), one.spacing, one.choices) == ("0,0,40,60", (0.2, 0.2), ())
    two = read_frame(save(tmp_path / "b.dcm", dataset(GRAY, regions=[left, right])))
    assert (two.region, two.spacing) == (None, None)
    assert [(str(choice.region), choice.spacing) for choice in two.choices] == [
        ("0,0,40,60", pytest.approx((0.2, 0.2))),
        ("40,0,40,60", pytest.approx((0.3, 0.3))),
    ]


def test_without_a_region_no_other_size_is_believed(tmp_path: Path) -> None:
    made = dataset(GRAY, PixelSpacing=["0.3", "0.3"], ImagerPixelSpacing=["0.3", "0.3"])
    assert read_frame(save(tmp_path / "a.dcm", made)).spacing is None
    assert read_frame(save(tmp_path / "b.dcm", dataset(GRAY, PixelAspectRatio=[3, 2]))).aspect == 1.5


# --- files of others --------------------------------------------------------------------------------------------------

SAMPLES = {
    "GREYSCALE_IMAGE.dcm": ("14,38,997,721", 0.0649047),
    "JPGLosslessP14SV1_1s_1f_8b.dcm": ("14,38,997,721", 0.2547670),
    "OBXXXX1A.dcm": ("120,60,680,459", 0.2622879),
    "OBXXXX1A_rle_2frame.dcm": ("120,60,680,459", 0.2622879),
    "US-YBR_FULL_422-EVRLE.dcm": ("184,75,616,480", 0.0616),
    "US1_UNCI.dcm": ("None", None),
    "YBR_FULL-RLE.dcm": ("84,48,400,368", 0.0953679),
    "no-pixel-spacing.dcm": ("120,60,680,459", 0.3305421),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_of_machines_have_their_region_and_millimetres(shared_data: Path, name: str) -> None:
    frame = read_frame(shared_data / "dicom" / name)
    box, millimetres = SAMPLES[name]
    assert str(frame.region) == box
    assert frame.spacing == (None if millimetres is None else pytest.approx((millimetres, millimetres), abs=1e-6))


@pytest.mark.skipif(shutil.which("dcmj2pnm") is None, reason="needs DCMTK")
@pytest.mark.parametrize("name", SAMPLES)
def test_dcmtk_sees_the_same_picture(shared_data: Path, tmp_path: Path, name: str) -> None:
    path = shared_data / "dicom" / name
    header = pydicom.dcmread(path, stop_before_pixels=True)
    shown = ["+Wi", "1"] if "WindowCenter" in header else []
    done = subprocess.run(["dcmj2pnm", *shown, path, tmp_path / "o.pnm"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    theirs = cv2.imread(str(tmp_path / "o.pnm"), cv2.IMREAD_UNCHANGED)
    gray = theirs if theirs.ndim == 2 else cv2.cvtColor(theirs, cv2.COLOR_BGR2GRAY)
    assert np.abs(gray.astype(int) - read_frame(path).pixels).max() <= 2


@pytest.mark.parametrize("kind", ["n1", "n2", "np", "s2", "s4"])
def test_every_sub_sampling_of_jpeg_is_the_same_picture(kind: str) -> None:
    folder = Path(pydicom.examples.get_path("ybr_color")).parent
    names = ("SC_rgb_rle.dcm", f"SC_rgb_dcmtk_+eb+cy+{kind}.dcm")
    plain, packed = (read_frame(folder / name).pixels.astype(int) for name in names)
    assert np.abs(plain - packed).mean() < 1.5


def test_a_long_cine_takes_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    for syntax in (ExplicitVRLittleEndian, RLELossless):
        path = save(tmp_path / "a.dcm", dataset(np.stack([GRAY] * 200), frames=200), syntax)
        tracemalloc.start()
        assert sum(1 for _ in read_frames(Entry(path, "a"))) == 200
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # The cine has 200 times the bytes of a frame; what the library imports counts too.
        assert peak < 100 * GRAY.size


def test_the_cine_of_the_library_is_read() -> None:
    frames = frames_of(Path(pydicom.examples.get_path("ybr_color")))
    assert len(frames) == 30
    assert frames[1].time_s == pytest.approx(0.0333, abs=1e-3)
