"""The network of ScribblePrompt against a slow restatement in numpy, and how its checkpoint is loaded."""

import hashlib
import sys
import types

import attrs
import numpy as np
import pytest

from aop_pose.errors import UsageError
from aop_pose.inference.fetch import SCRIBBLEPROMPT
from aop_pose.scribbles.segmenters import networks
from aop_pose.scribbles.segmenters.base import CHANNELS, network_inputs
from aop_pose.scribbles.segmenters.networks import OFFICIAL_FEATURES, build_network

torch = pytest.importorskip("torch")


def random_network(features, seed=0):
    """Weights large enough that every layer matters and PReLU slopes that differ from each other."""
    torch.manual_seed(seed)
    network = build_network(features)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.4)
    return network.eval()


def convolved(x, weight, bias):
    """Cross-correlation with zero padding, (C, H, W), written as sums over shifted pictures."""
    size = weight.shape[-1]
    pad = size // 2
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    out = np.zeros((weight.shape[0], *x.shape[1:])) + bias[:, None, None]
    for row in range(size):
        for column in range(size):
            shifted = padded[:, row : row + x.shape[1], column : column + x.shape[2]]
            out += np.tensordot(weight[:, :, row, column], shifted, axes=1)
    return out


def block(x, state, name):
    x = convolved(x, state[f"{name}.conv.0.weight"], state[f"{name}.conv.0.bias"])
    return np.where(x > 0, x, state[f"{name}.conv.1.weight"][0] * x)


def halved(x):
    return x.reshape(x.shape[0], x.shape[1] // 2, 2, x.shape[2] // 2, 2).max(axis=(2, 4))


def doubled(x):
    """Bilinear with aligned corners: output pixel i of 2 n stands at i (n - 1) / (2 n - 1)."""

    def along(values, axis):
        n = values.shape[axis]
        place = np.arange(2 * n) * (n - 1) / (2 * n - 1)
        low = np.minimum(place.astype(int), n - 1)
        share = (place - low).reshape([-1 if one == axis else 1 for one in range(values.ndim)])
        high = np.minimum(low + 1, n - 1)
        return (1 - share) * values.take(low, axis) + share * values.take(high, axis)

    return along(along(x, 1), 2)


def slow_forward(x, state, levels):
    skips = []
    for level in range(levels):
        skips.append(block(x, state, f"downs.{level}"))
        x = halved(skips[-1])
    x = block(x, state, "bottleneck")
    for level in range(levels):
        x = block(np.concatenate([skips.pop(), doubled(x)]), state, f"ups.{2 * level + 1}")
    return convolved(x, state["final_conv.conv.0.weight"], state["final_conv.conv.0.bias"])


def test_the_network_is_the_slow_restatement():
    network = random_network((6, 6, 6, 6))
    state = {key: value.double().numpy() for key, value in network.state_dict().items()}
    inputs = np.random.default_rng(1).random((2, 5, 32, 32))
    with torch.no_grad():
        found = network.double()(torch.from_numpy(inputs)).numpy()
    for one, expected in zip(found, inputs, strict=True):
        np.testing.assert_allclose(one, slow_forward(expected, state, 4), rtol=1e-10, atol=1e-10)
    assert found.std() > 0.01


def test_keys_and_size_are_those_of_the_official_checkpoint():
    state = build_network(OFFICIAL_FEATURES).state_dict()
    expected = {f"{name}.{end}" for end in ("conv.0.weight", "conv.0.bias", "conv.1.weight") for name in
                [*(f"downs.{n}" for n in range(4)), *(f"ups.{n}" for n in (1, 3, 5, 7)), "bottleneck"]}  # fmt: skip
    assert set(state) == expected | {"final_conv.conv.0.weight", "final_conv.conv.0.bias"}
    assert state["downs.0.conv.0.weight"].shape == (192, len(CHANNELS), 3, 3)
    assert state["ups.7.conv.0.weight"].shape == (192, 384, 3, 3)
    assert state["final_conv.conv.0.weight"].shape == (1, 192, 1, 1)
    assert state["ups.1.conv.1.weight"].shape == (1,)
    # 15,977,486 bytes on disk: the tensors and about ten kilobytes of archive around them.
    tensors = 4 * sum(value.numel() for value in state.values())
    assert 0 < SCRIBBLEPROMPT.bytes - tensors < 20_000


@pytest.mark.parametrize("size", [(256, 256), (300, 180), (128, 128)])
def test_inputs_are_resized_as_torch_does(size):
    rng = np.random.default_rng(2)
    picture = rng.integers(0, 256, size, dtype=np.uint8)
    picture[0, :2] = 0, 255
    positive, negative = (rng.random((2, *size)) > 0.9).astype(np.uint8)
    planes = torch.from_numpy(np.stack([picture / 255.0, positive, negative])[None].astype(np.float32))
    expected = torch.nn.functional.interpolate(planes, size=(128, 128), mode="bilinear").numpy()[0]
    found = network_inputs(picture, positive, negative)
    assert found.shape == (1, 5, 128, 128)
    np.testing.assert_allclose(found[0, [0, 2, 3]], expected, atol=5e-7)
    assert not found[0, [1, 4]].any()


def test_the_probability_is_the_networks_in_the_size_of_the_frame():
    network = random_network((4, 4, 4, 4))
    rng = np.random.default_rng(5)
    picture = rng.integers(0, 256, (200, 256), dtype=np.uint8)
    positive, negative = (rng.random((2, 200, 256)) > 0.9).astype(np.uint8)
    segmenter = networks.ScribblePrompt(network, "random")
    found = segmenter(picture, positive, negative)
    with torch.no_grad():
        small = network(torch.from_numpy(network_inputs(picture, positive, negative))).sigmoid()
    expected = torch.nn.functional.interpolate(small, size=(200, 256), mode="bilinear").numpy()[0, 0]
    assert (found.dtype, found.shape) == (np.float32, (200, 256))
    np.testing.assert_allclose(found, expected, atol=5e-7)


def published(path):
    content = path.read_bytes()
    return attrs.evolve(SCRIBBLEPROMPT, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "OFFICIAL_FEATURES", (4, 4, 4, 4))
    path = tmp_path / "checkpoint.pt"
    torch.save(random_network((4, 4, 4, 4)).state_dict(), path)
    return path


def test_another_hash_is_refused_before_the_file_is_opened(checkpoint, monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *arguments, **settings: pytest.fail("the file was opened"))
    with pytest.raises(UsageError, match="is not the official scribbleprompt: expected 15977486 bytes, found"):
        networks.load_scribbleprompt(checkpoint)
    official = attrs.evolve(published(checkpoint), sha256="0" * 64)
    with pytest.raises(UsageError, match="expected sha256 000000000000…, found"):
        networks.load_scribbleprompt(checkpoint, official)


def test_a_checkpoint_is_loaded_frozen(checkpoint, monkeypatch):
    monkeypatch.setitem(sys.modules, "scribbleprompt", None)
    monkeypatch.setattr(networks, "find_spec", lambda name: object() if name == "torch" else None)
    segmenter = networks.load_scribbleprompt(checkpoint, published(checkpoint))
    assert not any(parameter.requires_grad for parameter in segmenter.network.parameters())
    assert "this project's network" in segmenter.origin
    inputs = np.random.default_rng(0).random((1, 5, 128, 128), dtype=np.float32)
    with torch.no_grad():
        expected = random_network((4, 4, 4, 4))(torch.from_numpy(inputs)).numpy()
    np.testing.assert_array_equal(segmenter.logits(inputs), expected)


def test_upstreams_package_is_used_where_it_is_installed(checkpoint, monkeypatch):
    opened = []

    class Upstream:
        weights = {"v1": "./checkpoints/elsewhere.pt"}  # noqa: RUF012

        def __init__(self, version, device):
            opened.append((self.weights[version], device))
            self.model = random_network((4, 4, 4, 4), seed=9)

    package = types.ModuleType("scribbleprompt")
    package.ScribblePromptUNet = Upstream
    package.__spec__ = types.SimpleNamespace(name="scribbleprompt")
    monkeypatch.setitem(sys.modules, "scribbleprompt", package)
    segmenter = networks.load_scribbleprompt(checkpoint, published(checkpoint))
    assert opened == [(str(checkpoint), "cpu")]
    assert "upstream's package" in segmenter.origin
    assert Upstream.weights["v1"] == "./checkpoints/elsewhere.pt"
    assert not any(parameter.requires_grad for parameter in segmenter.network.parameters())


def test_an_upstream_package_that_does_not_import_is_told(checkpoint, monkeypatch):
    monkeypatch.setattr(networks, "find_spec", lambda name: object())

    def fails(name):
        raise ImportError("No module named 'segment_anything'")

    monkeypatch.setattr(networks.importlib, "import_module", fails)
    segmenter = networks.load_scribbleprompt(checkpoint, published(checkpoint))
    assert segmenter.origin.endswith(
        "this project's network (upstream's package does not import: No module named 'segment_anything')"
    )


def test_tensors_that_do_not_fit_are_listed(tmp_path):
    path = tmp_path / "other.pt"
    state = random_network((4, 4, 4, 4)).state_dict()
    state["extra"] = state.pop("downs.1.conv.1.weight")
    torch.save(state, path)
    with pytest.raises(UsageError) as failed:
        networks.load_state(build_network((6, 6, 6, 6)), path)
    message = str(failed.value)
    assert "downs.1.conv.1.weight: missing in file -> (1,) in network" in message
    assert "extra: (1,) in file -> unknown in network" in message
    assert "downs.0.conv.0.weight: (4, 5, 3, 3) in file -> (6, 5, 3, 3) in network" in message


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


@pytest.mark.parametrize("content", [Evil, lambda mark: torch.nn.Conv2d(1, 1, 1), lambda mark: [mark.name]])
def test_a_pickle_is_not_executed(tmp_path, content):
    torch.save(content(tmp_path / "ran"), tmp_path / "file.pt")
    with pytest.raises(UsageError, match="plain state dict"):
        networks.load_state(build_network((4, 4, 4, 4)), tmp_path / "file.pt")
    assert not (tmp_path / "ran").exists()
