"""Encoder, decoder and discriminator against the equations of Krishna and Khan."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("timm", reason="timm comes with the train extra")

from timm.layers.cbam import CbamModule  # noqa: E402
from torch import nn  # noqa: E402

from aop_pose.errors import UsageError  # noqa: E402
from aop_pose.inference.decode import decode  # noqa: E402
from aop_pose.pipelines.config import load_config  # noqa: E402
from aop_pose.pipelines.hrnet_gan.config import PRESETS, HrnetConfig  # noqa: E402
from aop_pose.pipelines.hrnet_gan.network import (  # noqa: E402  # noqa: E402
    CoordinateDecoder,
    Encoder,
    Generator,
    HeatmapDecoder,
    PatchDiscriminator,
    encoder_of,
    shares_of,
)

SMALL = ("encoder=mobilenetv3_small_050", "widened=true", "image_size=64", "decoder=[16,16,8,8,8]", "discriminator=2")


def config_of(preset="fast", *changes):
    return load_config(HrnetConfig, PRESETS, preset, changes)


def parameters(network):
    return sum(value.numel() for value in network.parameters())


# --- encoder ---


def test_the_papers_encoder_gives_1024_maps_of_16_by_16():
    encoder = Encoder("hrnet_w48").to("meta")
    assert encoder(torch.zeros(1, 1, 512, 512, device="meta")).shape == (1, 1024, 16, 16)
    assert encoder.channels == 1024
    assert encoder.body.conv1.in_channels == 1


def test_features_are_those_of_timm():
    """What is left out of HRNet does not reach its last map."""
    import timm

    encoder = Encoder("hrnet_w18_small").eval()
    whole = timm.create_model("hrnet_w18_small", pretrained=False, in_chans=1, features_only=True).eval()
    whole.load_state_dict(encoder.body.state_dict(), strict=False)
    gray = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(encoder(gray), whole(gray)[-1])
    assert parameters(encoder) < parameters(whole)


def test_the_last_branch_may_be_taken_as_it_is():
    encoder = Encoder("hrnet_w18_small", widened=False).to("meta")
    assert encoder(torch.zeros(1, 1, 256, 256, device="meta")).shape == (1, 128, 8, 8)


@pytest.mark.parametrize("name", ["resnet50", "mobilenetv3_small_100"])
def test_any_extractor_of_timm_will_do(name):
    encoder = Encoder(name).to("meta")
    assert encoder(torch.zeros(2, 1, 96, 96, device="meta")).shape == (2, encoder.channels, 3, 3)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hrnet_w18_smal", "found 'hrnet_w18_smal'; did you mean 'hrnet_w18_small'"),
        ("vit_tiny_patch16_224", "last map at 1/32 of the input, found 1/16 of vit_tiny_patch16_224"),
    ],
)
def test_an_encoder_that_will_not_do_is_one_line(name, said):
    with pytest.raises(UsageError, match=said):
        Encoder(name)


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        ("inception_v3", 64, r"takes no gray picture of 64 x 64 \(Calculated padded input size"),
        ("swin_tiny_patch4_window7_224", 64, r"takes no gray picture of 64 x 64 \(Input height"),
        ("swin_tiny_patch4_window7_224", 224, r"expected maps \(1, 768, 7, 7\) .*, found \(1, 7, 7, 768\) of swin"),
    ],
)
def test_an_encoder_of_other_sizes_or_axes_is_one_line(name, size, said):
    config = config_of("fast", f"encoder={name}", "widened=true", f"image_size={size}")
    with pytest.raises(UsageError, match=said) as raised:
        encoder_of(config)
    assert "\n" not in str(raised.value)


def test_the_check_of_shapes_changes_nothing():
    """Neither weights and running means nor torch's generator, and the encoder still trains."""
    config = config_of("fast", *SMALL)
    torch.manual_seed(0)
    plain, drawn = Encoder(config.encoder).state_dict(), torch.rand(1)
    torch.manual_seed(0)
    checked = encoder_of(config)
    torch.testing.assert_close(torch.rand(1), drawn, rtol=0, atol=0)
    assert all(torch.equal(value, plain[key]) for key, value in checked.state_dict().items())
    assert all(module.training for module in checked.modules())


def test_no_weights_are_downloaded(monkeypatch):
    import timm

    asked = {}
    made = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **given: asked.update(given) or made(name, **given))
    Encoder("mobilenetv3_small_050")
    assert asked["pretrained"] is False


# --- decoder ---


def test_the_decoder_is_equation_7():
    decoder = HeatmapDecoder(1024, (512, 256, 128, 64, 32), 3, attention=True)
    convolutions = [block[0] for block in decoder.blocks] + [decoder.out]
    assert [(c.in_channels, c.out_channels) for c in convolutions] == [
        (1024, 512), (512, 256), (256, 128), (128, 64), (64, 32), (32, 3),
    ]  # fmt: skip
    assert {(c.kernel_size, c.padding, c.stride) for c in convolutions[:5]} == {((3, 3), (1, 1), (1, 1))}
    assert (decoder.out.kernel_size, decoder.out.padding, decoder.out.stride) == ((1, 1), (0, 0), (1, 1))
    assert (decoder.up.scale_factor, decoder.up.mode) == (2.0, "bilinear")
    # Equation 6: convolution, batch normalisation, ReLU, CBAM.
    for block in decoder.blocks:
        assert [type(layer) for layer in block] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, CbamModule]
    assert decoder.to("meta")(torch.zeros(1, 1024, 16, 16, device="meta")).shape == (1, 3, 512, 512)


def test_the_last_two_steps_may_be_done_the_other_way_round():
    decoder = HeatmapDecoder(8, (8, 8, 6, 6, 4), 3, attention=True).eval()
    features = torch.rand(2, 8, 3, 3)
    with torch.no_grad():
        as_written = features
        for block in decoder.blocks:
            as_written = nn.functional.interpolate(block(as_written), scale_factor=2, mode="bilinear")
        torch.testing.assert_close(decoder(features), decoder.out(as_written))


def test_attention_is_a_switch():
    with_it, without = (HeatmapDecoder(8, (8,) * 5, 3, attention=on) for on in (True, False))
    assert not [module for module in without.modules() if isinstance(module, CbamModule)]
    assert parameters(with_it) > parameters(without)


def test_coordinates_are_shares_and_not_rounded_in_bfloat16():
    decoder = CoordinateDecoder(8, 8, 3, attention=True, side=8).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        shares = decoder(torch.rand(4, 8, 8, 8))
    assert (shares.shape, shares.dtype) == ((4, 3, 2), torch.float32)
    assert ((shares > 0) & (shares < 1)).all()
    assert (shares != shares.bfloat16().float()).any()


# --- generator ---


def test_softmax_maps_are_exported_as_they_were_taught():
    """Their mean position is the point of equation 8 by that rule, and a perfect map peaks at 1."""
    network = Generator(config_of("fast", *SMALL, "coordinate_rule=softmax10", "sigma=3")).eval()
    with torch.no_grad():
        raw = network(torch.rand(1, 1, 64, 64))
        answered = network.answer(torch.rand(1, 1, 64, 64))
        assert answered.shape == (1, 3, 64, 64)
        torch.testing.assert_close(answered.sum(dim=(2, 3)), torch.full((1, 3), network.scale))
        rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
        perfect = torch.exp(-((columns - 20) ** 2 + (rows - 31) ** 2) / (2 * 3**2))[None, None].expand(1, 3, 64, 64)
        network.forward = lambda gray: perfect
        assert float(network.answer(raw).max()) == pytest.approx(1, abs=2e-3)
        points = decode(network.answer(raw)[0].numpy(), "soft-argmax")
        np.testing.assert_allclose((points + 0.5) / 64, shares_of(perfect, "softmax10")[0].numpy(), atol=1e-5)


def test_coordinates_are_answered_in_pixels():
    network = Generator(config_of("fast", *SMALL, "output=coordinates", "adversary=false")).eval()
    gray = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network.answer(gray), network(gray) * 64 - 0.5)


# --- discriminator ---


def test_the_discriminator_is_equation_10():
    discriminator = PatchDiscriminator(3, 64)
    convolutions = [layer for layer in discriminator.layers if isinstance(layer, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.stride[0]) for c in convolutions] == [
        (3, 64, 2), (64, 128, 2), (128, 256, 2), (256, 512, 1), (512, 1, 1),
    ]  # fmt: skip
    assert {(c.kernel_size, c.padding) for c in convolutions} == {((4, 4), (1, 1))}
    assert [layer.negative_slope for layer in discriminator.layers if isinstance(layer, nn.LeakyReLU)] == [0.2] * 4
    assert isinstance(discriminator.layers[-1], nn.Conv2d)
    assert [nn.utils.parametrize.is_parametrized(c) for c in convolutions] == [True] * 4 + [False]
    assert discriminator.eval()(torch.rand(1, 3, 512, 512)).shape == (1, 1, 62, 62)


def test_its_weights_have_a_spectral_norm_of_one():
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(3, 4)
    with torch.no_grad():
        for layer in discriminator.layers:
            if isinstance(layer, nn.Conv2d):
                layer.bias.mul_(0)
                if nn.utils.parametrize.is_parametrized(layer):
                    layer.parametrizations.weight.original.mul_(7)
        for _ in range(60):
            discriminator(torch.rand(1, 3, 32, 32))
        norms = [torch.linalg.matrix_norm(layer.weight.flatten(1), 2) for layer in discriminator.layers[:8:2]]
    np.testing.assert_allclose(norms, 1, rtol=0.02)


# --- presets ---


def test_the_paper_preset_says_what_the_paper_does():
    config = config_of("paper")
    assert (config.image_size, config.encoder, config.decoder) == (512, "hrnet_w48", (512, 256, 128, 64, 32))
    assert (config.lambda_h, config.lambda_c, config.lambda_adv, config.lambda_e) == (1, 10, 0.01, 0.001)
    assert (config.lr_generator, config.lr_discriminator, config.weight_decay) == (3e-4, 5e-5, 1e-4)
    assert (config.epochs, config.batch, config.sigma, config.schedule) == (400, 4, 5.0, "cosine")
    assert (config.frozen, config.thaw) == (True, ((150, "stage3"), (250, "stage2")))
    assert (config.attention, config.adversary, config.gan, config.discriminator) == (True, True, "lsgan", 64)
    assert (config.averaging, config.clip, config.phantoms) == (0, 0, 0)
    assert (config.aug_elastic_p, config.aug_alpha, config.aug_sigma, config.aug_affine) == (0.8, 5, 10, 10)


def test_the_fast_preset_is_small_enough_to_ship():
    config = config_of("fast")
    # Float32, below 10 MB.
    assert 4 * parameters(Generator(config)) < 9.9e6
    assert config.image_size == 128
    assert config.adversary


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["image_size=100"], "image_size has to be a multiple of 32"),
        (["decoder=[8,8]"], "decoder has to name the channels of 5 blocks, found 2"),
        (["output=coordinates"], "adversary judges maps: it goes with output heatmaps"),
        (["thaw=[[3, stage3]]"], "thaw frees layers of a frozen encoder: set frozen"),
        (
            ["frozen=true", "epochs=5", "thaw=[[3, stage3], [5, stage2]]"],
            "thaw after 5 epochs never comes in a run of 5: set thaw too",
        ),
        (["encoder=resnet18"], "widened=false is for the encoders hrnet_.*: set widened=true"),
        (["patient=abc"], "bracket around the patient"),
        (["lambda_x=1"], "unknown setting 'lambda_x'; did you mean 'lambda_"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes, said):
    with pytest.raises(UsageError, match=said):
        config_of("fast", *changes)
