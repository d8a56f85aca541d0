"""Published networks of sound: features as in their own library, alone and in company, at their rate, and a start that learns on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import tacit
from conftest import call
from tacit import foreign
from tacit.data.dataset import from_arrays
from tacit.embedding.model import Model, load
from tacit.errors import Asked, BadData, CannotPair
from tacit.foreign import fetch

transformers = pytest.importorskip("transformers")
RATE = 16_000
BODY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "conv_dim": (16,) * 7,
    "initializer_range": 0.3,
}


def networks() -> dict[str, Any]:
    t = transformers
    large = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
    return {
        "wav2vec2": lambda: t.Wav2Vec2Model(t.Wav2Vec2Config(**BODY)),
        "large": lambda: t.Wav2Vec2Model(t.Wav2Vec2Config(**BODY, **large)),
        "recogniser": lambda: t.Wav2Vec2ForCTC(t.Wav2Vec2Config(**BODY, add_adapter=True, vocab_size=9)),
        "hubert": lambda: t.HubertModel(t.HubertConfig(**BODY)),
        "wavlm": lambda: t.WavLMModel(t.WavLMConfig(**BODY)),
        "data2vec": lambda: t.Data2VecAudioModel(t.Data2VecAudioConfig(**BODY, conv_pos_kernel_size=5)),
    }


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sounds")
    transformers.utils.logging.disable_progress_bar()
    for name, make in networks().items():
        torch.manual_seed(0)
        make().save_pretrained(root / name)
        about = {"do_normalize": name != "hubert", "sampling_rate": RATE, "feature_size": 1}
        (root / name / "preprocessor_config.json").write_text(json.dumps(about))
    return root


def sounds(rate: int = RATE) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [np.round(rng.normal(0.01, 0.1, round(s * rate)), 4).astype(np.float32) for s in (0.5, 0.31, 0.7001, 0.02)]


def given(rate: int = RATE) -> Any:
    return from_arrays(sounds(rate) * 4, modality="audio", options={"rate": rate})


def theirs(folder: Path, samples: np.ndarray, normalize: bool) -> torch.Tensor:
    """Features of one recording, alone, by the library, with silence until its last 20 ms are whole."""
    with foreign._quiet(), torch.no_grad():
        config = transformers.AutoConfig.from_pretrained(folder)
        config.add_adapter = False
        net = transformers.AutoModel.from_pretrained(folder, config=config).eval()
        x = np.rint(samples * 32767) / 32767
        x = (x - x.mean()) / np.sqrt(x.var() + 1e-7) if normalize else x
        x = np.pad(x, (0, (-(-len(x) // 320) - 1) * 320 + 400 - len(x)))
        return net(torch.from_numpy(x.astype(np.float32))[None]).last_hidden_state[0]


def ours(model: Model, data: Any) -> list[torch.Tensor]:
    with torch.no_grad():
        (batch,) = model.batches(data.x, data.lengths)
        f = model.encoder(model.plain(batch))
    return [row[v] for row, v in zip(f.tokens, f.valid, strict=True)]


@pytest.mark.parametrize("name", networks())
def test_features_are_those_of_the_library_whatever_else_is_in_the_batch(checkpoints: Path, name: str) -> None:
    data = given()
    model = fetch(f"hf:{checkpoints / name}", data.spec)
    found = ours(model, data)
    for got, samples in zip(found[:4], sounds(), strict=True):
        want = theirs(checkpoints / name, samples, name != "hubert")
        assert len(got) == -(-len(samples) // 320)
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


def test_a_model_of_a_checkpoint_is_stored_and_loaded_without_it(checkpoints: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoints / "large", tmp_path / "gone")
    data = given()
    model = fetch(f"hf:{tmp_path / 'gone'}", data.spec)
    shutil.rmtree(tmp_path / "gone")
    again = load(model.save(tmp_path / "kept"))
    assert again.spec == model.spec
    for a, b in zip(ours(again, data), ours(model, data), strict=True):
        assert torch.equal(a, b)


def test_layers_are_given_and_what_is_hidden_is_not_heard(checkpoints: Path) -> None:
    data = given()
    model = fetch(f"hf:{checkpoints / 'wav2vec2'}", data.spec)
    net = transformers.AutoModel.from_pretrained(checkpoints / "wav2vec2")
    assert torch.equal(model.encoder.mask_token, net.masked_spec_embed)
    rows = np.arange(1)
    with torch.no_grad():
        (batch,) = model.batches(data.x[rows], data.lengths[rows])
        batch = model.plain(batch)
        f = model.encoder(batch, layers=2)
        assert len(f.layers) == 2
        torch.testing.assert_close(f.layers[1], f.tokens)
        mask = torch.zeros(1, f.tokens.shape[1], dtype=torch.bool)
        mask[0, 5:9] = True
        hidden = model.encoder(batch, mask=mask).tokens
        before = model.encoder.tokenizer(batch)
        x = before.x.clone()
        x[0, 5:9] = net.masked_spec_embed
        want = model.encoder.backbone.net["encoder"](x).last_hidden_state
        torch.testing.assert_close(hidden, want)


def recordings(folder: Path, rate: int) -> Path:
    folder.mkdir()
    rng, rows = np.random.default_rng(0), ["file_name,word"]
    for i in range(20):
        t = np.arange(round(rate * (0.3 + 0.01 * i))) / rate
        tone = 0.3 * np.sin(2 * np.pi * (200 if i % 2 else 900) * t) + 0.02 * rng.normal(size=len(t))
        soundfile.write(folder / f"{i}.wav", tone, rate)
        rows.append(f"{i}.wav,{'low' if i % 2 else 'high'}")
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_pretraining_goes_on_from_a_checkpoint_at_its_rate(checkpoints: Path, tmp_path: Path) -> None:
    place, run = recordings(tmp_path / "tones", 8000), tmp_path / "run"
    shutil.copytree(checkpoints / "wav2vec2", tmp_path / "start")
    name = f"hf:{tmp_path / 'start'}"
    kept = ["--steps", 4, "--batch-size", 4, "--out", run, "train.checkpoint=1e-6"]
    said = call("pretrain", place, "--init", name, *kept)
    assert said.code == 0, said.err
    assert "hfaudio" in said.err and "wav2vec2" in said.err and "0.0001" in said.err
    model = load(run)
    assert model.spec.extra["rate"] == RATE and model.spec.extra["hop"] == 160
    start = fetch(name, model.spec).encoder.state_dict()
    now = model.encoder.state_dict()
    moved = {k: float((now[k] - v).abs().max()) for k, v in start.items()}
    assert set(now) == set(start) and 0 < max(moved.values()) < 5e-3
    said = call("finetune", name, place, "--target", "word", "--strategy", "lp-ft", "--out", tmp_path / "tuned")
    assert said.code == 0, said.err
    assert len(tacit.predict(tmp_path / "tuned", place)) == 20
    shutil.rmtree(tmp_path / "start")
    whole = call("pretrain", place, "--init", name, *kept, "--resume")
    assert whole.code == 0, whole.err


@pytest.mark.parametrize("method", ["simclr", "data2vec", "hubert", "cpc"])
def test_other_methods_go_on_from_a_checkpoint(checkpoints: Path, method: str) -> None:
    if method == "cpc":
        with pytest.raises(CannotPair, match="cannot"):
            tacit.pretrain(given(), init=f"hf:{checkpoints / 'wavlm'}", method=method, steps=1)
        return
    run = tacit.pretrain(given(), init=f"hf:{checkpoints / 'wavlm'}", method=method, steps=2, batch_size=4)
    assert np.isfinite(run.model.vectors(given().x, given().lengths)).all()


def test_what_does_not_fit_is_refused(checkpoints: Path, tmp_path: Path) -> None:
    spec = given().spec
    with pytest.raises(CannotPair, match="does not read samples of sound"):
        folder = tmp_path / "bert"
        transformers.BertModel(
            transformers.BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=9)
        ).save_pretrained(folder)
        fetch(f"hf:{folder}", spec)
    with pytest.raises(Asked, match="has no config"):
        fetch(f"hf:{tmp_path}", spec)
    shutil.copytree(checkpoints / "wav2vec2", tmp_path / "cut")
    from safetensors.torch import load_file, save_file

    weights = load_file(tmp_path / "cut" / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "feature_projection" not in k}, tmp_path / "cut" / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadData, match="lacks"):
        fetch(f"hf:{tmp_path / 'cut'}", spec)
    with pytest.raises(CannotPair, match="reads samples"):
        tacit.pretrain(given(), init=f"hf:{checkpoints / 'wav2vec2'}", overrides={"modality": {"front": "logmel"}}, steps=1)
