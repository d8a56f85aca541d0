"""Checkpoints that others published as models of ours: `hf:NAME` of the package transformers, `timm:NAME` of timm."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tacit import published, publishedwaves, registry, wording
from tacit.assemble import make_encoder, make_modality
from tacit.embedding.model import Model
from tacit.encoder import Encoder
from tacit.errors import Asked, BadData, CannotPair, MissingExtra
from tacit.types import Spec

LIBRARIES = {"hf": "transformers", "timm": "timm"}
HIDES = "masked_spec_embed"  # what stands for a hidden moment of sound
WORDS = "words"  # the vectors of the tokens, which are the tokenizer's here
SPEECH = 16_000  # samples a second, unless a checkpoint says otherwise
MEASURED = ("counts", "longest", "cut", "windowed", "measured")  # of a spec, on training texts in their tokens
UNPICKLED = "only *.safetensors is read, because a pickled file (.bin, .pt) can run code: save the model again with save_pretrained"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says of itself, before its weights are read.

    backbone: {"name": library, hyperparameters}, which build its network. place: a folder, or a name on the hub.
    images: how it was shown images: image_mean, image_std, rescale_factor, size, crop_size; what it does not say is left out.
    modality: hyperparameters of the modality that fit the network. tokenizer: that cuts texts for it. marks: numbers of the tokens before
    and after a text. mask: number of the token that hides another.
    """

    backbone: Mapping[str, Any]
    place: str
    images: Mapping[str, Any]
    modality: Mapping[str, Any] = field(default_factory=dict)
    tokenizer: wording.Learned | None = None
    marks: tuple[int | None, int | None] = (None, None)
    mask: int | None = None
    rate: int = 0


def is_foreign(name: str) -> bool:
    """Is this the name of somebody else's checkpoint, and not a path?"""
    return name.startswith(tuple(f"{library}:" for library in LIBRARIES))


def fetch(name: str, spec: Spec, size: int | None = None) -> Model:
    """The network of a published checkpoint with its weights, for images, texts or sound such as a spec describes.

    name: hf:NAME or timm:NAME, where NAME is a name on the hub, or a folder with config.json and model.safetensors. spec: of the data;
    mean, deviation and size become those of the checkpoint, and so do the tokenizer and the rate. size: side of the images in pixels,
    None = the checkpoint's. What a checkpoint has seen is not known, and many have read labels: the model's labels_seen is None.
    Raises Asked for what is not there or reads no such data, CannotPair for other data, BadData for weights that do not fit,
    MissingExtra without the package.
    """
    if len(spec.sizes) != 2 and spec.modality not in READERS:
        raise CannotPair(f"{name} does not read {spec.modality} data", "pretrain a model on such data: tacit pretrain DATA")
    return fetched(look_up(name, spec.modality), name, spec, size)


def fetched(found: Checkpoint, name: str, spec: Spec, size: int | None = None) -> Model:
    """The same of a checkpoint that was looked up."""
    own = spec.modality in READERS
    knobs = {"name": spec.modality, **(found.modality if own else {"tiles": 0})}
    modality = make_modality(shown_by(found, spec) if own else _like(spec, found.images, size), knobs)
    needs = frozenset({"mask"}) if own else frozenset[str]()
    encoder = make_encoder(modality, found.backbone, needs)
    _fill(encoder, found, name)
    trained: dict[str, Any] = {"backbone": dict(found.backbone), "modality": knobs, "needs": sorted(needs), "labels_seen": None}
    said = {"source": name, "ignores": f"what the makers of {name} chose, which is not known here"}
    return Model(encoder, modality, {**trained, **said}).eval()


def shown_by(found: Checkpoint, spec: Spec) -> Spec:
    """The spec of texts that are cut into the tokens of a checkpoint, or of sound at its rate; what was measured on either is not known."""
    if found.rate:
        return registry.find("modalities", spec.modality).at_rate(spec, found.rate)  # type: ignore[no-any-return]
    made = found.tokenizer
    if made is None or spec.extra["tokenizer"] == made.text:
        return spec
    kept = {k: v for k, v in spec.extra.items() if k not in MEASURED}
    about = {"tokenizer": made.text, "kind": made.kind, "why": made.why, "vocabulary": len(wording.words(made.text))}
    return replace(spec, extra={**kept, **about})


def look_up(name: str, modality: str = "image") -> Checkpoint:
    """What a checkpoint says of itself; nothing but small files is read. modality: of the data that it is to read.

    Raises Asked if there is none.
    """
    library, _, place = name.partition(":")
    if find_spec(LIBRARIES[library]) is None:
        raise MissingExtra(LIBRARIES[library], library, name)
    folder = Path(place).expanduser()
    if folder.is_dir():
        place = str(folder)
    elif library == "timm" and "/" not in place:
        place = f"timm/{place}"  # where timm keeps its weights
    about = _json(place, "config.json", name)
    if about is None:
        raise Asked(f"{name} has no config.json", "name a model on the hub, or a folder that save_pretrained wrote")
    if library == "timm":
        return _of_timm(about, place, name)
    if modality in READERS:
        return READERS[modality](about, place, name)
    from tacit.backbones import hf

    whole = hf.configured(json.dumps(about), 3).to_json_string(use_diff=False)
    stored = json.dumps(hf.plain(json.loads(whole)))
    return Checkpoint({"name": "hf", "config": stored}, place, _json(place, "preprocessor_config.json", name) or {})


def _of_text(about: Mapping[str, Any], place: str, name: str) -> Checkpoint:
    """A network of transformers that reads texts, with its tokenizer."""
    config = published.configured(json.dumps(about), what="a network of text")
    stored = json.dumps(published.plain(json.loads(config.to_json_string(use_diff=False))))
    tokens = wording.given(f"hf:{place}")
    with torch.device("meta"):
        known = published.built(config).get_input_embeddings()
    count, wide = (0, 0) if known is None or known.weight.ndim != 2 else known.weight.shape
    if count < len(wording.words(tokens.text)):
        raise Asked(f"hf:{place} has {count:,} vectors for the {len(wording.words(tokens.text)):,} tokens of its tokenizer")
    first, last, mask = wording.marks(tokens.text)
    body = {"name": "hftext", "config": stored, "begin": first is not None, "end": last is not None}
    return Checkpoint(body, place, {}, {"width": int(wide), "sif": 0.0, "pairs": 0}, tokens, (first, last), mask)


def _of_sound(about: Mapping[str, Any], place: str, name: str) -> Checkpoint:
    """A network of transformers that reads samples of sound, with its own convolutions."""
    config = published.configured(json.dumps(about), what="a network of sound")
    plain = published.plain(json.loads(config.to_json_string(use_diff=False)))
    with torch.device("meta"):
        publishedwaves.network(json.dumps(plain))
    shown = _json(place, "preprocessor_config.json", name) or {}
    waves = json.dumps({**plain, "do_normalize": bool(shown.get("do_normalize", True))})
    body, rate = {"name": "hfaudio", "config": json.dumps(plain)}, shown.get("sampling_rate") or SPEECH
    if not isinstance(rate, int) or not 1_000 <= rate <= 384_000:
        raise Asked(f"{name} was shown {rate!r} samples a second, which is no rate", "is its preprocessor_config.json whole?")
    return Checkpoint(body, place, {}, {"front": "waveform", "convolutions": waves}, rate=rate)


# how a checkpoint of transformers describes itself as a reader of a modality that has networks of its own
READERS: dict[str, Callable[[Mapping[str, Any], str, str], Checkpoint]] = {"text": _of_text, "audio": _of_sound}


def _of_timm(about: Mapping[str, Any], place: str, name: str) -> Checkpoint:
    images = about.get("pretrained_cfg") or about  # beside the rest in older files
    size = images.get("input_size") or (3, 224, 224)
    if not isinstance(about.get("architecture"), str):
        raise Asked(f"{name}: its config.json names no architecture of timm", "was it saved by timm? hf:NAME reads those of transformers")
    # its way of pooling says what the last normalisation is called
    pooling = {"global_pool": about["global_pool"]} if about.get("global_pool") else {}
    config = {"architecture": about["architecture"], "in_chans": size[0], **pooling, **(about.get("model_args") or {})}
    shown = {"image_mean": images.get("mean"), "image_std": images.get("std"), "size": min(size[1:])}
    return Checkpoint({"name": "timm", "config": json.dumps(config)}, place, shown)


def _like(spec: Spec, images: Mapping[str, Any], size: int | None) -> Spec:
    """The spec with the mean, the deviation and the size that a checkpoint was shown; what it does not say stays as the data has it."""
    mean, std = images.get("image_mean"), images.get("image_std")
    if not images.get("do_normalize", True):
        mean, std = [0.0], [1.0]
    if mean and std:
        # ours counts in units of the full range of 0..255
        scale = 255 * float(images.get("rescale_factor", 1 / 255)) if images.get("do_rescale", True) else 255.0
        mean, std = ([float(v) / scale for v in (values if isinstance(values, list | tuple) else [values])] for values in (mean, std))
        spec = replace(spec, mean=_channels(mean, spec.channels), std=_channels(std, spec.channels))
    cut = images.get("crop_size") if images.get("do_center_crop", True) else None
    side = size or _side(cut or images.get("size"))
    return _shown_at(spec, side) if side else spec


def _channels(values: list[float], channels: int) -> tuple[float, ...]:
    return tuple(values) if len(values) == channels else (sum(values) / len(values),) * channels


def _side(said: Any) -> int:
    """Pixels of the shorter side; said: a number, {"height", "width"}, {"shortest_edge"}, or None = 0."""
    numbers = [v for v in (said.values() if isinstance(said, Mapping) else [said]) if isinstance(v, int)]
    return min(numbers, default=0)


def _shown_at(spec: Spec, side: int) -> Spec:
    """The spec with images whose shorter side has `side` pixels, stored as large as they are for that, if this machine stored less."""
    now, stored = min(spec.extra.get("size", spec.sizes)), min(spec.sizes)
    shown = [max(1, round(s * side / now)) for s in spec.extra.get("size", spec.sizes)]
    original = min(spec.extra.get("original", [[], spec.sizes])[1])
    more = min(original, side) / stored
    sizes = tuple(round(s * more) for s in spec.sizes) if more > 1 else spec.sizes
    return replace(spec, sizes=sizes, extra={**spec.extra, "size": shown})


def _fill(encoder: Encoder, found: Checkpoint, name: str) -> None:
    """Copy the checkpoint's weights into a network. Raises BadData unless all are there on which a feature depends."""
    weights = _tensors(found, name) if found.backbone["name"] == "timm" else _of_hf(found, name)
    hides = None if not found.rate else weights.pop(HIDES, None)
    if found.tokenizer is not None:
        table = weights.pop(WORDS)
        hides = None if found.mask is None else table[found.mask]
        with torch.no_grad():
            own_table = encoder.get_parameter("tokenizer.table")
            own_table.copy_(table[: len(own_table)])
            for edge, number in zip(("first", "last"), found.marks, strict=True):
                if number is not None:
                    encoder.backbone.get_parameter(edge).copy_(table[number])
    if hides is not None:
        encoder.mask_token = nn.Parameter(hides.clone())
    for part in [encoder.backbone, *([encoder.tokenizer] if found.rate else [])]:
        net = part.get_submodule("net")
        own = net.state_dict()
        fits = {k: v for k, v in weights.items() if k in own and own[k].shape == v.shape}
        idle = {n for n, p in net.named_parameters() if not p.requires_grad}
        if lacking := sorted(set(own) - set(fits) - idle):
            said = f"{name} lacks {len(lacking)} weight(s) of its own architecture, such as {lacking[0]}"
            raise BadData(said, "download or save it again; a model's own code, if it has any, is not run")
        # of what no feature depends on, nothing random stays
        net.load_state_dict({**{k: torch.zeros_like(own[k]) for k in own}, **fits})


def _of_hf(found: Checkpoint, name: str) -> dict[str, Tensor]:
    """All weights, under the names that the installed version of transformers gives them."""
    from transformers import AutoModel

    from tacit.backbones import hf, hftext

    config, texts = found.backbone["config"], found.tokenizer is not None
    own = texts or bool(found.rate)
    with _quiet(), _reading(name, UNPICKLED):
        net, about = AutoModel.from_pretrained(
            found.place,
            config=published.configured(config) if own else hf.configured(config, 3),
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    kept = {k: v for k, v in net.state_dict().items() if k not in about["missing_keys"]}
    if not texts:
        return kept
    part = hftext.encoder_of(net)
    inner = {k: v for k, v in part.state_dict().items() if part is not net or k in kept}
    return {**inner, WORDS: part.get_input_embeddings().weight.detach()}  # type: ignore[operator]


def _tensors(found: Checkpoint, name: str) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    path = _file(found.place, "model.safetensors", name)
    if path is None:
        raise Asked(f"{name} has no model.safetensors", UNPICKLED)
    with _reading(name, "download or save it again"):
        return {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}


def _json(place: str, file: str, name: str) -> dict[str, Any] | None:
    """A small file of a checkpoint, None = it has none of that name."""
    path = _file(place, file, name)
    with _reading(name, "download or save it again"):
        found = None if path is None else json.loads(path.read_text(encoding="utf-8"))
        if found is not None and not isinstance(found, dict):
            raise ValueError(f"{file} is no JSON object")
        return found


def _file(place: str, file: str, name: str) -> Path | None:
    if Path(place).is_dir():
        return path if (path := Path(place) / file).is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    with _reading(name, "is the name right, and the hub within reach? A folder that save_pretrained wrote needs neither"):
        try:
            return Path(hf_hub_download(place, file))
        except LocalEntryNotFoundError:  # not downloaded before, and no way to do it now
            raise
        except EntryNotFoundError:
            return None


@contextlib.contextmanager
def _reading(name: str, hint: str) -> Iterator[None]:
    """What goes wrong while files are read becomes Asked."""
    try:
        yield
    except (Asked, MissingExtra):
        raise
    except Exception as error:  # of the hub, of safetensors, of transformers
        said = str(error).strip().split("\n")[0][:300] or type(error).__name__
        raise Asked(f"{name} cannot be read: {said}", hint) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """transformers without its remarks, and without progress bars where nobody looks at them."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
