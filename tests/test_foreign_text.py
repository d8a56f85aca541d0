"""Published encoders of text: the same features as in their own library, their own tokens, and a start that goes on learning."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tacit
from conftest import call
from tacit import foreign, wording
from tacit.data.dataset import from_texts
from tacit.embedding.model import Model, load
from tacit.errors import Asked, CannotPair
from tacit.foreign import fetch

transformers = pytest.importorskip("transformers")
TEXTS = ["what is the capital of Peru ?", "who wrote Hamlet , and why ?", "what is what ?", "who is the who of what ?"] * 6
WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] what is the capital of peru ? who wrote hamlet , and why".split()


MARKS = {"t5": "$A [SEP]"}  # an end, and no beginning


def tokenizer(marks: str = "[CLS] $A [SEP]") -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    made = Tokenizer(models.WordPiece({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens(WORDS[:5])
    if marks:
        made.post_processor = processors.TemplateProcessing(single=marks, special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return made


def networks() -> dict[str, Any]:
    t = transformers
    body = {"vocab_size": len(WORDS), "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 32}
    body |= {"max_position_embeddings": 24, "initializer_range": 0.3, "pad_token_id": 0}
    return {
        "bert": lambda: t.BertModel(t.BertConfig(**body)),
        "masked": lambda: t.BertForMaskedLM(t.BertConfig(**body)),
        "roberta": lambda: t.RobertaModel(t.RobertaConfig(**body)),
        "electra": lambda: t.ElectraModel(t.ElectraConfig(**body, embedding_size=8)),
        "t5": lambda: t.T5Model(t.T5Config(vocab_size=len(WORDS), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)),
    }


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("texts")
    transformers.utils.logging.disable_progress_bar()
    for name, make in networks().items():
        torch.manual_seed(0)
        make().save_pretrained(root / name)
        tokenizer(MARKS.get(name, "[CLS] $A [SEP]")).save(str(root / name / "tokenizer.json"))
    return root


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def theirs(folder: Path, texts: list[str], marks: str = "[CLS] $A [SEP]") -> list[torch.Tensor]:
    """Features of the tokens of each text, alone, by the library, without its marks."""
    with foreign._quiet(), torch.no_grad():
        net = transformers.AutoModel.from_pretrained(folder).eval()
        net = net.get_encoder() if net.config.is_encoder_decoder else net
        ids = [torch.tensor([tokenizer(marks).encode(t).ids]) for t in texts]
        begin = int(marks.startswith("[CLS]"))
        return [net(input_ids=i, attention_mask=torch.ones_like(i)).last_hidden_state[0, begin:-1] for i in ids]


def ours(model: Model, texts: list[str]) -> list[torch.Tensor]:
    data = from_texts(texts, spec=model.spec, max_bad=1.0)
    with torch.no_grad():
        (batch,) = model.batches(data.x, data.lengths)
        f = model.encoder(model.plain(batch))
    return [row[v] for row, v in zip(f.tokens, f.valid, strict=True)]


@pytest.mark.parametrize("name", networks())
def test_features_are_those_of_the_library(checkpoints: Path, name: str) -> None:
    spec = from_texts(TEXTS).spec
    model = fetch(f"hf:{checkpoints / name}", spec)
    for a, b in zip(ours(model, TEXTS[:4]), theirs(checkpoints / name, TEXTS[:4], MARKS.get(name, "[CLS] $A [SEP]")), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_a_model_of_a_checkpoint_is_stored_and_loaded_without_it(checkpoints: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoints / "bert", tmp_path / "gone")
    model = fetch(f"hf:{tmp_path / 'gone'}", from_texts(TEXTS).spec)
    shutil.rmtree(tmp_path / "gone")
    with torch.no_grad():  # as every verb does
        again = load(model.save(tmp_path / "kept"))
    assert again.spec == model.spec
    for a, b in zip(ours(again, TEXTS[:4]), ours(model, TEXTS[:4]), strict=True):
        assert torch.equal(a, b)
    assert not {n for n, p in again.encoder.named_parameters() if "pooler" in n and p.requires_grad}


def test_a_long_text_is_read_in_windows(checkpoints: Path) -> None:
    model = fetch(f"hf:{checkpoints / 'bert'}", from_texts(TEXTS).spec)
    window = model.encoder.backbone.window
    assert window == 20  # of 24, without two marks and two that may be kept for padding
    words = (" ".join(TEXTS)).split()[: 2 * window + 5]
    parts = [" ".join(words[i : i + window]) for i in range(0, len(words), window)]
    (whole,), cut = ours(model, [" ".join(words)]), ours(model, parts)
    torch.testing.assert_close(whole, torch.cat(cut), atol=1e-5, rtol=1e-5)


def test_pretraining_goes_on_from_a_checkpoint(checkpoints: Path, tmp_path: Path) -> None:
    path = tmp_path / "questions.csv"
    path.write_text("text,label\n" + "\n".join(f"{t.replace(',', '')},{i % 2}" for i, t in enumerate(TEXTS)) + "\n")
    shutil.copytree(checkpoints / "masked", tmp_path / "start")
    name, run = f"hf:{tmp_path / 'start'}", tmp_path / "run"
    said = call("pretrain", path, "--init", name, "--steps", 4, "--batch-size", 8, "--out", run)
    assert said.code == 0, said.err
    assert "hftext" in said.err and "mlm" in said.err and "0.0001" in said.err
    model = load(run)
    start = fetch(name, model.spec).encoder.state_dict()
    words = wording.words(model.spec.extra["tokenizer"])
    assert words == WORDS and sum(model.spec.extra["counts"]) > 0
    now = model.encoder.state_dict()
    assert torch.allclose(now["mask_token"], start["tokenizer.table"][WORDS.index("[MASK]")], atol=2e-3)
    moved = max(float((now[k] - v).abs().max()) for k, v in start.items())
    assert 0 < moved < 2e-3
    assert call("fill", run, "what is the [MASK] of peru").code == 0
    tuned = call("finetune", name, path, "--target", "label", "--strategy", "probe", "--out", tmp_path / "tuned")
    assert tuned.code == 0, tuned.err
    assert len(tacit.predict(tmp_path / "tuned", path)) == len(TEXTS)
    said = call("pretrain", path, "--init", name, "--backbone", "bag", "--steps", 2, "--out", tmp_path / "no")
    assert said.code == 2 and "brings its own network" in said.err
    said = call("pretrain", path, "--init", name, "--method", "word2vec", "--steps", 2, "--out", tmp_path / "no")
    assert said.code == 2 and "backbone hftext cannot" in said.err


def test_a_run_is_resumed_when_its_checkpoint_is_gone(checkpoints: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoints / "masked", tmp_path / "start")
    data, out = from_texts(TEXTS), tmp_path / "run"
    kept = {"steps": 6, "batch_size": 8, "out": out, "overrides": {"train": {"checkpoint": 1e-6}}}
    tacit.pretrain(data, init=f"hf:{tmp_path / 'start'}", **kept)
    shutil.rmtree(tmp_path / "start")
    done = tacit.pretrain(data, init=f"hf:{tmp_path / 'start'}", resume=True, **kept)
    assert wording.words(done.model.spec.extra["tokenizer"]) == WORDS


def test_what_does_not_fit_is_refused(checkpoints: Path, tmp_path: Path) -> None:
    spec = from_texts(TEXTS).spec
    shutil.copytree(checkpoints / "bert", tmp_path / "bare")
    (tmp_path / "bare" / "tokenizer.json").unlink()
    with pytest.raises(Asked, match="there is no file"):
        fetch(f"hf:{tmp_path / 'bare'}", spec)
    wide = tokenizer()
    wide.add_tokens([f"word{i}" for i in range(50)])
    wide.save(str(tmp_path / "bare" / "tokenizer.json"))
    with pytest.raises(Asked, match="vectors for the"):
        fetch(f"hf:{tmp_path / 'bare'}", spec)
    table = tacit.open(_table(tmp_path / "t.csv"))
    with pytest.raises(CannotPair, match="does not read table data"):
        fetch(f"hf:{checkpoints / 'bert'}", table.spec)


def _table(path: Path) -> Path:
    rng = np.random.default_rng(0)
    path.write_text("a,b\n" + "\n".join(f"{x:.3f},{y:.3f}" for x, y in rng.normal(size=(20, 2))) + "\n")
    return path


def test_a_tokenizer_without_marks_gives_none(checkpoints: Path, tmp_path: Path) -> None:
    assert wording.marks(tokenizer().to_str()) == (2, 3, 4) and wording.marks(tokenizer("").to_str()) == (None, None, 4)
    assert wording.marks(tokenizer("$A [SEP]").to_str()) == (None, 3, 4)
    shutil.copytree(checkpoints / "bert", tmp_path / "plain")
    tokenizer("").save(str(tmp_path / "plain" / "tokenizer.json"))
    model = fetch(f"hf:{tmp_path / 'plain'}", from_texts(TEXTS).spec)
    assert model.encoder.backbone.first is None and model.encoder.backbone.last is None
    with foreign._quiet(), torch.no_grad():
        net = transformers.AutoModel.from_pretrained(tmp_path / "plain").eval()
        want = net(input_ids=torch.tensor([tokenizer("").encode(TEXTS[0]).ids])).last_hidden_state[0]
    torch.testing.assert_close(ours(model, TEXTS[:1])[0], want, atol=1e-5, rtol=1e-5)
