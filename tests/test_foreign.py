"""Checkpoints that others published: the same features as in their own library, stored as ours, and refused where they do not fit."""

from __future__ import annotations

import importlib.machinery
import json
import shutil
import socket
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from conftest import Said, small
from tacit import api, foreign, registry
from tacit.assemble import info_of, make_encoder, make_method, make_modality
from tacit.embedding.model import Model, load
from tacit.errors import Asked, BadData, CannotPair, MissingExtra
from tacit.foreign import fetch, look_up
from tacit.training.origin import start_from
from tacit.types import Batch, Spec

transformers = pytest.importorskip("transformers")
huggingface_hub = pytest.importorskip("huggingface_hub")

VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 16,
    "patch_size": 4,
    "initializer_range": 0.2,
}
CONV = {"hidden_sizes": [8, 16], "depths": [1, 1], "initializer_range": 0.2}
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.25]
PIXELS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 3, 16, 16), np.uint8))
NORMAL = (PIXELS / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
SPEC = Spec("image", 3, (16, 16), (0.1,) * 3, (0.9,) * 3, extra={"size": [16, 16], "fit": "crop", "scale": [0, 255], "grey": False})


def networks() -> dict[str, Callable[[], Any]]:
    """Tiny networks of transformers, untrained."""
    t = transformers
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 40}
    decoder = {"decoder_hidden_size": 16, "decoder_num_attention_heads": 2, "decoder_num_hidden_layers": 1, "decoder_intermediate_size": 16}
    dino = {k: v for k, v in VIT.items() if k != "intermediate_size"}
    return {
        "vit": lambda: t.ViTModel(t.ViTConfig(**VIT)),
        "classifier": lambda: t.ViTForImageClassification(t.ViTConfig(**VIT, num_labels=30)),
        "mae": lambda: t.ViTMAEForPreTraining(t.ViTMAEConfig(**VIT, **decoder)),
        "dinov2": lambda: t.Dinov2Model(t.Dinov2Config(**dino)),
        "registers": lambda: t.Dinov2WithRegistersModel(t.Dinov2WithRegistersConfig(**dino)),
        "convnext": lambda: t.ConvNextModel(t.ConvNextConfig(num_stages=2, layer_scale_init_value=0.5, **CONV)),
        "resnet": lambda: t.ResNetForImageClassification(t.ResNetConfig(embedding_size=8, layer_type="basic", **CONV)),
        "clip": lambda: t.CLIPModel(t.CLIPConfig(text_config={**text, "bos_token_id": 1, "eos_token_id": 2}, vision_config=VIT)),
        "bert": lambda: t.BertModel(t.BertConfig(**text)),
    }


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of each tiny network, as save_pretrained writes it."""
    root = tmp_path_factory.mktemp("checkpoints")
    transformers.utils.logging.disable_progress_bar()
    for name, make in networks().items():
        torch.manual_seed(0)
        make().save_pretrained(root / name)
        about = {"image_mean": MEAN, "image_std": STD, "size": {"height": 16, "width": 16}}
        (root / name / "preprocessor_config.json").write_text(json.dumps(about))
    transformers.utils.logging.enable_progress_bar()
    return root


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reaches for the hub."""

    def connect(*_: object) -> None:
        raise AssertionError("reached for the network")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(socket.socket, "connect", connect)


def theirs(folder: Path, name: str) -> Tensor:
    """Features [B, D, h, w] or [B, 1 or more + cells, D] that transformers itself computes."""
    part = {"classifier": "ViTModel", "resnet": "ResNetModel", "clip": "CLIPVisionModel", "mae": "ViTMAEModel"}
    cls = getattr(transformers, part[name]) if name in part else transformers.AutoModel
    options = {"noise": torch.arange(16.0).expand(4, -1)} if name == "mae" else {}  # patches in their own order
    with foreign._quiet(), torch.no_grad():
        net = cls.from_pretrained(folder / name, **({"mask_ratio": 0.0} if name == "mae" else {})).eval()
        return net(pixel_values=NORMAL, **options).last_hidden_state


def tokens_of(model: Model, x: Tensor = PIXELS) -> Any:
    with torch.no_grad():
        return model.encoder(Batch(model.modality.load(x), torch.arange(len(x))))


@pytest.mark.parametrize("name", [n for n in networks() if n != "bert"])
def test_features_are_those_of_the_library(checkpoints: Path, name: str) -> None:
    model = fetch(f"hf:{checkpoints / name}", SPEC)
    features, wanted = tokens_of(model), theirs(checkpoints, name)
    extra = {"registers": 5, "convnext": 0, "resnet": 0}.get(name, 1)
    wanted = wanted.flatten(2).transpose(1, 2) if wanted.ndim == 4 else wanted[:, extra:]
    assert features.grid == ((2, 2) if name in ("convnext", "resnet") else (4, 4)) and wanted.std() > 0.01
    assert torch.allclose(features.tokens, wanted, atol=1e-6) and torch.allclose(features.pooled, wanted.mean(1), atol=1e-6)
    with torch.no_grad():
        assert torch.equal(model(PIXELS), features.pooled)
    assert model.config["labels_seen"] is None and model.config["needs"] == []


@pytest.mark.parametrize("name", ["vit", "resnet", "clip"])
def test_stored_and_loaded_again_without_the_checkpoint(
    checkpoints: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(checkpoints / name, tmp_path / "gone")
    model = fetch(f"hf:{tmp_path / 'gone'}", SPEC)
    model.save(tmp_path / "ours")
    shutil.rmtree(tmp_path / "gone")
    for cls in (transformers.AutoModel, transformers.AutoConfig, transformers.PreTrainedModel):
        monkeypatch.setattr(cls, "from_pretrained", None)
    again = load(tmp_path / "ours")
    with torch.no_grad():
        assert torch.equal(again(PIXELS), model(PIXELS))
    assert again.config == model.config and again.config["source"] == f"hf:{tmp_path / 'gone'}" and again.spec == model.spec
    again.save(tmp_path / "copy")
    assert load_file(tmp_path / "copy" / "model.safetensors").keys() == load_file(tmp_path / "ours" / "model.safetensors").keys()
    vectors = api.embed(tmp_path / "ours", PIXELS.numpy())
    with torch.no_grad():
        assert np.allclose(vectors.vectors, model(PIXELS).numpy(), atol=1e-6)


@pytest.mark.parametrize("name", ["vit", "dinov2", "convnext", "clip"])
def test_a_gradient_reaches_all_that_features_depend_on(checkpoints: Path, name: str) -> None:
    encoder = fetch(f"hf:{checkpoints / name}", SPEC).encoder.train()
    encoder(Batch(PIXELS / 255, torch.arange(4))).pooled.square().sum().backward()
    learning = {n for n, p in encoder.named_parameters() if p.requires_grad}
    assert learning == {n for n, p in encoder.named_parameters() if p.grad is not None}
    idle = {n.removeprefix("backbone.net.") for n, _ in encoder.named_parameters()} - {n.removeprefix("backbone.net.") for n in learning}
    part = {"vit": "pooler", "dinov2": "embeddings.mask_token", "convnext": "layernorm", "clip": "post_layernorm"}[name]
    assert idle and all(n.startswith(part) for n in idle)


def test_nothing_random_stays_in_a_model(checkpoints: Path) -> None:
    """A classifier's checkpoint has no pooler, which transformers would make up anew each time."""
    one, two = (fetch(f"hf:{checkpoints / 'classifier'}", SPEC).encoder.state_dict() for _ in range(2))
    assert one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


# ---- images ----


def spec_like(images: dict[str, Any], spec: Spec = SPEC, size: int | None = None) -> Spec:
    return foreign._like(spec, images, size)


@pytest.mark.parametrize(
    ("images", "factor", "wanted"),
    [
        ({"image_mean": MEAN, "image_std": STD}, 1 / 255, (MEAN, STD)),
        ({"image_mean": MEAN, "image_std": STD, "rescale_factor": 1 / 127.5}, 1 / 127.5, (MEAN, STD)),
        ({"image_mean": [120.0, 110.0, 100.0], "image_std": [60.0, 50.0, 55.0], "do_rescale": False}, 1.0, ([120, 110, 100], [60, 50, 55])),
        ({"image_mean": MEAN, "image_std": STD, "do_normalize": False}, 1 / 255, ([0.0] * 3, [1.0] * 3)),
    ],
)
def test_pixels_are_normalised_as_the_checkpoint_saw_them(images: dict[str, Any], factor: float, wanted: Any) -> None:
    modality = make_modality(spec_like(images), {"tiles": 0})
    mean, std = (torch.tensor(v, dtype=torch.float32).view(3, 1, 1) for v in wanted)
    ours = modality.tokenizer(True)(Batch(modality.load(PIXELS), torch.arange(4))).x
    assert torch.allclose(ours, ((PIXELS * factor - mean) / std).flatten(2).transpose(1, 2), rtol=1e-4, atol=1e-4)


def test_what_a_checkpoint_does_not_say_stays_as_the_data_has_it() -> None:
    assert spec_like({}) == SPEC and spec_like({"image_mean": None, "image_std": None}) == SPEC
    grey = spec_like({"image_mean": MEAN, "image_std": STD}, Spec("image", 1, (16, 16), extra={"size": [16, 16]}))
    assert grey.mean == (pytest.approx(0.4),) and grey.std == (pytest.approx(0.25),)


@pytest.mark.parametrize("said", [{"size": 32}, {"size": {"height": 32, "width": 32}}, {"crop_size": 32, "size": {"shortest_edge": 40}}])
def test_images_are_shown_at_the_size_of_the_checkpoint(said: dict[str, Any]) -> None:
    shown = spec_like(said)
    assert shown.extra["size"] == [32, 32] and shown.sizes == (16, 16), "images of 16 pixels are stored as they are, and enlarged"
    assert spec_like(said, size=24).extra["size"] == [24, 24]
    wide = Spec("image", 3, (40, 60), extra={"size": [16, 24], "original": [[30, 50], [500, 750], [900, 900]]})
    assert spec_like(said, wide).extra["size"] == [32, 48] and spec_like(said, wide).sizes == (40, 60)
    photos = Spec("image", 3, (20, 20), extra={"size": [16, 16], "original": [[30, 50], [500, 700], [900, 900]]})
    assert spec_like(said, photos).sizes == (32, 32), "large photos are decoded at the size that is shown"
    assert spec_like({"crop_size": 20, "do_center_crop": False, "size": 32}).extra["size"] == [32, 32]


def test_small_images_are_enlarged_and_data_is_decoded_for_the_model(checkpoints: Path) -> None:
    data = small("image")
    model = fetch(f"hf:{checkpoints / 'dinov2'}", data.spec, size=24)
    assert model.modality.sizes == (24, 24) and tokens_of(model, PIXELS).grid == (4, 4)
    vectors = model.embed(data).vectors
    assert vectors.shape == (40, 16) and np.isfinite(vectors).all() and vectors.std(0).min() > 1e-3
    large = nn.functional.interpolate(PIXELS.float(), (24, 24), mode="bilinear", antialias=False)
    with torch.no_grad():
        assert torch.cosine_similarity(model(PIXELS), model(large.round().to(torch.uint8)), dim=1).min() > 0.98


def test_grey_images_are_repeated_for_a_network_that_reads_colours(checkpoints: Path) -> None:
    grey = Spec("image", 1, (16, 16), extra={"size": [16, 16]})
    folder = checkpoints / "vit"
    model, x = fetch(f"hf:{folder}", grey), PIXELS[:, :1]
    normal = (x / 255 - np.mean(MEAN)) / np.mean(STD)
    with torch.no_grad(), foreign._quiet():
        wanted = transformers.ViTModel.from_pretrained(folder).eval()(pixel_values=normal.float().expand(-1, 3, -1, -1))
        assert torch.allclose(model(x), wanted.last_hidden_state[:, 1:].mean(1), atol=1e-5)
    config = look_up(f"hf:{folder}").backbone
    with pytest.raises(CannotPair, match="reads 3 channels, the data have 2"):
        make_encoder(make_modality(Spec("image", 2, (16, 16), (0.0,) * 2, (1.0,) * 2), {}), config, frozenset())


def test_sizes_that_the_cells_do_not_divide_are_padded_with_the_mean(checkpoints: Path) -> None:
    model = fetch(f"hf:{checkpoints / 'vit'}", SPEC)
    part, padded = PIXELS[..., :14, :11] / 255, torch.tensor(MEAN).view(3, 1, 1).expand(4, 3, 16, 12).clone()
    padded[..., :14, :11] = part
    with torch.no_grad():
        one, two = (model.encoder(Batch(x, torch.arange(4))) for x in (part, padded))
    assert one.grid == two.grid == (4, 3) and torch.allclose(one.tokens, two.tokens, atol=1e-5)


# ---- what is refused ----


def test_only_safetensors_are_read(checkpoints: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoints / "vit", tmp_path / "pickled")
    weights = tmp_path / "pickled" / "model.safetensors"
    torch.save(load_file(weights), tmp_path / "pickled" / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(Asked, match="safetensors") as error:
        fetch(f"hf:{tmp_path / 'pickled'}", SPEC)
    assert "pickled" in error.value.hint


def test_weights_that_are_not_all_there_are_refused(checkpoints: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoints / "vit", tmp_path / "cut")
    weights = load_file(tmp_path / "cut" / "model.safetensors")
    lost = next(k for k in weights if "layernorm_before.weight" in k or "norm1.weight" in k)
    save_file({k: v for k, v in weights.items() if k != lost}, tmp_path / "cut" / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadData, match="lacks 1 weight"):
        fetch(f"hf:{tmp_path / 'cut'}", SPEC)
    (tmp_path / "cut" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(Asked, match="cannot be read"):
        fetch(f"hf:{tmp_path / 'cut'}", SPEC)


def test_what_reads_no_images_is_refused(checkpoints: Path, tmp_path: Path) -> None:
    with pytest.raises(Asked, match="does not read images"):
        fetch(f"hf:{checkpoints / 'bert'}", SPEC)
    with pytest.raises(CannotPair, match="does not read series data"):
        fetch(f"hf:{checkpoints / 'vit'}", small("series").spec)
    with pytest.raises(Asked, match=r"no config.json"):
        fetch(f"hf:{tmp_path}", SPEC)
    for text in ("{", "[]", '{"model_type": "nothing_known"}', '{"model_type": "vit", "hidden_size": "wide"}'):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(Asked):
            fetch(f"hf:{tmp_path}", SPEC)
    with pytest.raises(Asked, match="cannot be read") as error:
        fetch("hf:nobody/nothing", SPEC)
    assert "hub within reach" in error.value.hint


def test_a_missing_package_is_named(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("transformers", "timm"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    real = foreign.find_spec
    monkeypatch.setattr(foreign, "find_spec", lambda name: None if name in ("transformers", "timm") else real(name))
    for name, package in (("hf", "transformers"), ("timm", "timm")):
        with pytest.raises(MissingExtra, match=package) as error:
            fetch(f"{name}:x", SPEC)
        assert error.value.hint == f"pip install 'tacit[{name}]'"
        with pytest.raises(MissingExtra, match=package):
            make_encoder(make_modality(SPEC, {}), {"name": name}, frozenset())
    monkeypatch.setattr(registry.importlib.util, "find_spec", foreign.find_spec)
    assert {"hf", "timm"} <= set(registry.names("backbones")) and not {"hf", "timm"} & set(registry.every("backbones"))


def test_a_stored_configuration_fetches_and_runs_nothing(checkpoints: Path, tmp_path: Path) -> None:
    """Names of code and of kernels from elsewhere are dropped, and the network is that of the installed package."""
    model = fetch(f"hf:{checkpoints / 'vit'}", SPEC)
    model.save(tmp_path)
    about = json.loads((tmp_path / "model.json").read_text())
    config = json.loads(about["backbone"]["config"])
    assert not {"auto_map", "id2label", "transformers_version"} & set(config)
    hostile = {"auto_map": {"AutoModel": "evil/code--x.Y"}, "attn_implementation": "evil/kernels", "_attn_implementation": "evil/kernels"}
    about["backbone"]["config"] = json.dumps({**config, **hostile})
    (tmp_path / "model.json").write_text(json.dumps(about))
    with torch.no_grad():
        assert torch.equal(load(tmp_path)(PIXELS), model(PIXELS))


# ---- as a backbone ----


def test_a_run_starts_from_a_checkpoint(checkpoints: Path, tmp_path: Path, tacit: Callable[..., Said]) -> None:
    name, run = f"hf:{checkpoints / 'vit'}", tmp_path / "run"
    said = tacit("pretrain", "builtin:digits", "--init", name, "--steps", 2, "--out", run)
    assert said.code == 0, said.err
    about = json.loads((run / "run.json").read_text())
    assert about["labels_seen"] is None and about["init"] == name
    named = {c["name"] for c in about["plan"]}
    assert "weights" in named and "size" not in named
    model = load(run)
    assert model.config["backbone"]["name"] == "hf" and "perhaps read" in (run / "model" / "CARD.md").read_text()
    weights = load_file(run / "model" / "model.safetensors")
    start = fetch(name, model.spec).encoder.state_dict()
    assert weights.keys() == start.keys()
    assert all(torch.allclose(weights[k], start[k], atol=0.05) for k in start), "two steps away from the checkpoint"
    assert any(not torch.equal(weights[k], start[k]) for k in start)
    refused = tacit("pretrain", "builtin:digits", "--init", name, "--method", "mae", "--steps", 2, "--out", tmp_path / "no")
    assert refused.code == 2 and "backbone hf cannot: drop" in refused.err
    for more in (["--backbone", "resnet"], ["backbone.config={}"]):
        refused = tacit("pretrain", "builtin:digits", "--init", name, "--steps", 2, "--out", tmp_path / "no", *more)
        assert refused.code == 2 and "brings its own network" in refused.err


def test_every_encoder_of_a_method_starts_from_the_checkpoint(checkpoints: Path) -> None:
    name, data = f"hf:{checkpoints / 'vit'}", small("image")
    modality = make_modality(data.spec, {})
    method = make_method(modality, {"name": "byol"}, look_up(name).backbone, info_of(modality, 40), 0)
    inherited = start_from(method, name, data.spec)
    assert inherited.labels_seen is None and inherited.seen is None
    start = fetch(name, data.spec).encoder.state_dict()
    assert torch.equal(start["tokenizer.mean"].flatten(), torch.tensor(MEAN))
    bodies = [m.state_dict() for m in method.modules() if hasattr(m, "tokenizer") and hasattr(m, "backbone")]
    assert len(bodies) == 2 and all(torch.equal(body[k], start[k]) for body in bodies for k in start)


def test_evaluated_like_any_model(checkpoints: Path) -> None:
    data = small("image")
    done = api.evaluate(fetch(f"hf:{checkpoints / 'resnet'}", data.spec), data, levels=[1], seeds=1, supervised=False)
    assert {"ssl", "untrained"} <= {r["representation"] for r in done.evaluation.results}
    assert "whether pretraining read labels is unknown" in done.evaluation.notes


def test_in_bfloat16_the_features_are_nearly_the_same(checkpoints: Path) -> None:
    model = fetch(f"hf:{checkpoints / 'vit'}", SPEC)
    exact = model.vectors(PIXELS.numpy())
    model.precision = "bf16-mixed"
    assert np.abs(model.vectors(PIXELS.numpy()) - exact).max() < 0.05 * np.abs(exact).max()


def test_a_network_of_one_size_says_so() -> None:
    """Its views and its data must have that size; here of a class that has no way to interpolate its positions."""
    config = {"model_type": "aimv2_vision_model", **VIT}
    body = {"name": "hf", "config": json.dumps(config)}
    encoder = make_encoder(make_modality(SPEC, {}), body, frozenset())
    assert tokens_of_encoder(encoder, NORMAL).shape == (4, 16, 16)
    with pytest.raises(CannotPair, match="16 x 16 pixels alone, not of 8 x 8"):
        tokens_of_encoder(encoder, NORMAL[..., :8, :8])
    with pytest.raises(CannotPair, match="16 x 16 pixels alone") as error:
        make_encoder(make_modality(Spec("image", 3, (32, 32), (0.0,) * 3, (1.0,) * 3), {}), body, frozenset())
    assert "--image-size 16" in error.value.hint
    tail = {"model_type": "yolos", **VIT, "image_size": [16, 16]}
    with pytest.raises(Asked, match="do not lie on a grid"):
        make_encoder(make_modality(SPEC, {}), {"name": "hf", "config": json.dumps(tail)}, frozenset())


def tokens_of_encoder(encoder: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        return encoder.eval()(Batch(x, torch.arange(len(x)))).tokens


# ---- timm, by a stand-in with its interface ----


class Patches(nn.Module):
    """Like timm's ViT: a class token, then the patches; of any size only if asked for."""

    def __init__(self, in_chans: int = 3, num_classes: int = 10, dynamic_img_size: bool = False, dim: int = 12) -> None:
        super().__init__()
        self.pretrained_cfg = {"input_size": (3, 16, 16)}
        self.dynamic = dynamic_img_size
        self.patch = nn.Conv2d(in_chans, dim, 4, 4)
        self.cls, self.norm = nn.Parameter(torch.ones(1, 1, dim)), nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes) if num_classes else nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        assert self.dynamic or x.shape[2:] == (16, 16)
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        return self.norm(torch.cat([self.cls.expand(len(x), -1, -1), tokens], 1) + tokens.mean(1, keepdim=True))


class Last(nn.Module):
    """Like timm's Swin: channels come last. An unknown argument is a TypeError, as in its convolutional networks."""

    output_fmt = "NHWC"

    def __init__(self, in_chans: int = 3, num_classes: int = 10) -> None:
        super().__init__()
        self.pretrained_cfg = {"input_size": (3, 16, 16)}
        self.conv, self.head = nn.Conv2d(in_chans, 6, 8, 8), nn.Linear(6, num_classes) if num_classes else nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        return self.conv(x).permute(0, 2, 3, 1)


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("timm")
    module.__spec__ = importlib.machinery.ModuleSpec("timm", None)
    known = {"patches": Patches, "last": Last}
    given: dict[str, Any] = {}

    def create_model(name: str, pretrained: bool = True, **options: Any) -> nn.Module:
        assert not pretrained
        given.update(options)
        return known[name](**options)

    for name, value in (("create_model", create_model), ("is_model", known.__contains__), ("list_models", lambda: list(known))):
        setattr(module, name, value)
    module.given = given  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", module)
    return module


def timm_encoder(config: Any, needs: frozenset[str] = frozenset()) -> Any:
    return make_encoder(make_modality(SPEC, {}), {"name": "timm", "config": json.dumps(config)}, needs)


def checkpoint_of(net: nn.Module, architecture: str, folder: Path, **more: Any) -> str:
    """A folder as timm writes it."""
    folder.mkdir()
    cfg = {"mean": MEAN, "std": STD, "input_size": [3, 16, 16]}
    (folder / "config.json").write_text(json.dumps({"architecture": architecture, "pretrained_cfg": cfg, **more}))
    save_file(net.state_dict(), folder / "model.safetensors")
    return f"timm:{folder}"


@pytest.mark.parametrize("architecture", ["patches", "last"])
def test_timm_features_are_those_of_the_library(timm: Any, tmp_path: Path, architecture: str) -> None:
    torch.manual_seed(0)
    net = {"patches": Patches, "last": Last}[architecture]()
    name = checkpoint_of(net, architecture, tmp_path / "net")
    model = fetch(name, SPEC)
    net.dynamic = True  # type: ignore[assignment]
    out = net.forward_features(NORMAL)
    wanted = out[:, 1:] if architecture == "patches" else out.flatten(1, 2)
    f = tokens_of(model)
    assert torch.allclose(f.tokens, wanted, atol=1e-6) and model.config["source"] == name and model.config["labels_seen"] is None
    assert tokens_of(model, PIXELS[..., :8, :8]).tokens.shape[1] == (4 if architecture == "patches" else 1), "other sizes are taken"
    model.save(tmp_path / "ours")
    shutil.rmtree(tmp_path / "net")
    with torch.no_grad():
        assert torch.equal(load(tmp_path / "ours")(PIXELS), model(PIXELS))


def test_timm_arguments(timm: Any, tmp_path: Path) -> None:
    name = checkpoint_of(Patches(dim=8), "patches", tmp_path / "net", model_args={"dim": 8, "checkpoint_path": "evil.pth"})
    assert fetch(name, SPEC).dim == 8 and "checkpoint_path" not in timm.given and timm.given["num_classes"] == 0
    with pytest.raises(Asked, match="timm has no architecture 'hf-hub:evil/patches'") as error:
        timm_encoder({"architecture": "hf-hub:evil/patches"})
    assert "patches" in error.value.hint
    for wrong in (3, {}, {"dim": 4}):
        with pytest.raises(Asked, match="no JSON object that names an architecture"):
            timm_encoder(wrong)
    with pytest.raises(Asked, match="timm cannot build last"):
        timm_encoder({"architecture": "last", "wide": 3})
    (tmp_path / "net" / "model.safetensors").unlink()
    with pytest.raises(Asked, match=r"no model.safetensors") as error:
        fetch(name, SPEC)
    assert "pickled" in error.value.hint
    with pytest.raises(Asked, match="names no architecture of timm"):
        (tmp_path / "net" / "config.json").write_text('{"model_type": "vit"}')
        fetch(name, SPEC)


def test_timm_is_a_backbone_like_others_where_it_is_installed(timm: Any) -> None:
    assert "timm" in registry.every("backbones")
    for architecture in ("patches", "last"):
        encoder = timm_encoder({"architecture": architecture}, frozenset({"mask", "resize"}))
        encoder.train()(Batch(NORMAL, torch.arange(4))).pooled.square().sum().backward()
        assert {n for n, p in encoder.named_parameters() if p.requires_grad and p.grad is None} == {"mask_token"}
