"""Every backbone builds in every size, and what it declares is what it does."""

from __future__ import annotations

import pytest
import torch

from conftest import KINDS, small
from tacit import registry
from tacit.assemble import make_encoder, make_modality, parameters
from tacit.encoder import Backbone
from tacit.errors import Asked, CannotPair
from tacit.types import Batch, Spec

NAMES = list(registry.every("backbones"))
CAPABILITIES = {"mask", "drop", "causal", "layers", "resize", "tokens", "unordered", "ragged", "chunk", "apart", "dropout"}


def spec_of(kind: str, *sizes: int) -> Spec:
    """Three channels of mean 0 and deviation 1."""
    return Spec(kind, 3, sizes, (0.0,) * 3, (1.0,) * 3)


def fits(backbone: type[Backbone], spec: Spec, needs: frozenset[str] = frozenset()) -> bool:
    rank = make_modality(spec, {}).layout.rank or 1
    wanted = needs | ({"ragged"} if spec.ragged else set()) | ({"unordered"} if not spec.sizes else set())
    return rank in backbone.ranks and wanted <= backbone.can and ("causal" not in needs or bool(spec.sizes))


@pytest.mark.parametrize("name", NAMES)
def test_declarations(name: str) -> None:
    backbone = registry.find("backbones", name)
    assert backbone.wants in ("patch", "dense") and backbone.can <= CAPABILITIES
    assert set(backbone.presets) == {"tiny", "small", "base"}
    for preset in backbone.presets.values():
        assert registry.check_knobs(backbone, preset, "backbone") == dict(preset)


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
@pytest.mark.parametrize("name", NAMES)
def test_sizes_build_and_grow(name: str, size: str) -> None:
    for spec in (spec_of("image", 32, 32), spec_of("series", 128), spec_of("vector")):
        if not fits(registry.find("backbones", name), spec) or name == "bag":  # which is no network
            continue
        counts = {}
        for s in ("tiny", "small", "base"):
            with torch.device("meta"):
                counts[s] = parameters(make_encoder(make_modality(spec, {}), {"name": name, "size": s}, frozenset()))
        assert counts["tiny"] < counts["small"] < counts["base"], spec.modality


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "sizes",
    [(32, 32), (17, 17), (8, 8), (7, 5), (1, 1), (2, 9), (28, 28), (97, 98), (48,), (49,), (7,), (1,), (131,), (6, 5, 7), (1, 1, 1)],
    ids=str,
)
def test_features_lie_on_the_promised_grid(name: str, sizes: tuple[int, ...]) -> None:
    """Cells known before computing are what comes out, for sizes that nothing divides."""
    from tacit.encoder import build
    from tacit.patches import GridTokenizer
    from tacit.types import Layout

    backbone = registry.find("backbones", name)
    if len(sizes) not in backbone.ranks:
        return
    torch.manual_seed(0)
    rank = len(sizes)
    side = {1: 8, 2: 4, 3: 2}[rank]

    def tokenizer(dense: bool) -> GridTokenizer:
        return GridTokenizer((0.0, 0.0), (1.0, 1.0), (1 if dense else side,) * rank)

    encoder = build(tokenizer, backbone, Layout(rank), sizes, frozenset(), backbone.presets["tiny"]).eval()
    x = torch.randn(3, 2, *sizes)
    f = encoder(Batch(x, torch.arange(3)))
    cells = encoder.cells(Batch(x, torch.arange(3)))
    n = cells.valid.shape[1]
    assert f.grid == cells.grid == tuple(-(-s // c) for s, c in zip(sizes, encoder.cell, strict=True))
    assert f.tokens.shape == (3, n, encoder.dim) and f.at.shape == (3, n, rank) and f.valid.shape == (3, n)
    assert f.pooled.shape == (3, encoder.dim) and f.pooled.isfinite().all() and f.tokens.isfinite().all()
    target = encoder.target(Batch(x, torch.arange(3)))
    guess = encoder.head()(f.tokens[f.valid])
    assert target.distance(guess, f.valid).isfinite()


@pytest.mark.parametrize("name", [n for n in NAMES if "resize" in registry.find("backbones", n).can])
def test_other_sizes_than_trained_on(name: str) -> None:
    spec = spec_of("series", 64) if 1 in registry.find("backbones", name).ranks else spec_of("image", 32, 32)
    encoder = make_encoder(make_modality(spec, {}), {"name": name, "size": "tiny"}, frozenset()).eval()
    for scale in (0.5, 1.5, 2):
        x = torch.randn(2, spec.channels, *(int(s * scale) for s in spec.sizes))
        f = encoder(Batch(x, torch.arange(2)))
        assert f.tokens.shape[1] == encoder.cells(Batch(x, torch.arange(2))).valid.shape[1]


@pytest.mark.parametrize("name", [n for n in NAMES if "layers" in registry.find("backbones", n).can])
def test_layers_are_returned_last_first_to_last(name: str) -> None:
    encoder = make_encoder(make_modality(small("series").spec, {}), {"name": name, "size": "tiny"}, frozenset()).eval()
    batch = Batch(torch.randn(2, 2, 48), torch.arange(2))
    two, one = encoder(batch, layers=2).layers, encoder(batch, layers=1).layers
    assert len(two) == 2 and len(one) == 1 and torch.equal(two[-1], one[0]) and encoder(batch).layers == ()
    assert two[0].shape[:2] == two[1].shape[:2] == encoder(batch).tokens.shape[:2]
    assert not torch.equal(*[layer.mean((1, 2)) for layer in two])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_fit_is_refused_when_built(name: str, kind: str) -> None:
    spec, backbone = small(kind).spec, registry.find("backbones", name)
    for needs in (frozenset[str](), *({c} for c in sorted(CAPABILITIES - {"ragged", "unordered"}))):
        needs = frozenset(needs)
        if fits(backbone, spec, needs):
            make_encoder(make_modality(spec, {}), {"name": name, "size": "tiny"}, needs)
            continue
        with pytest.raises(CannotPair, match=f"backbone {name} cannot: ") as error:
            make_encoder(make_modality(spec, {}), {"name": name, "size": "tiny"}, needs)
        suggested = [n for n in NAMES if fits(registry.find("backbones", n), spec, needs)]
        named = f"backbones that can: {', '.join(suggested)}"
        assert error.value.hint == (named if suggested else "no backbone can; choose another method, such as simclr")
        for other in suggested:
            make_encoder(make_modality(spec, {}), {"name": other, "size": "tiny"}, needs)


def test_impossible_hyperparameters_are_refused() -> None:
    image = make_modality(spec_of("image", 16, 16), {})
    with pytest.raises(Asked, match="ResNet has depth 18, 34 or 50"):
        make_encoder(image, {"name": "resnet", "depth": 20}, frozenset())
    with pytest.raises(Asked, match=r"backbone.heads=5 does not divide backbone.dim=192"):
        make_encoder(image, {"name": "transformer", "heads": 5}, frozenset())
    for bad in ({"depth": 0}, {"dim": -1}, {"dim": "wide"}):
        for name in NAMES:
            if next(iter(bad)) in registry.knobs(registry.find("backbones", name)):
                with pytest.raises(Asked):
                    make_encoder(image, {"name": name, **bad}, frozenset())


def test_large_images_get_the_large_stem() -> None:
    for side, cell in ((64, 8), (96, 32)):
        encoder = make_encoder(make_modality(spec_of("image", side, side), {}), {"name": "resnet", "size": "tiny"}, frozenset())
        assert encoder.cell == (cell, cell)
