"""What one kind of data is: how it is decoded (exact, on the CPU, once) and viewed (random, batched, on the device)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tacit import nuisances, registry
from tacit.errors import CannotPair
from tacit.measured import because
from tacit.reasons import Reason, Strange
from tacit.types import Batch, Layout, Spec, Views

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tacit.encoder import Tokenizer
    from tacit.pieces import Pieces

Raw = Path | bytes | np.ndarray
RECIPE = Views()


class BadItem(Exception):
    """This one item cannot be decoded; the text is the reason that the user reads."""


def class_numbers(x: np.ndarray) -> np.ndarray:
    """Values as int16 class numbers; NaN and what is negative become -1, unknown. Raises BadItem for what is no class number."""
    if x.dtype.kind not in "buif":
        raise BadItem(f"values of type {x.dtype} are no class numbers")
    if x.dtype.kind == "f":
        x = np.where(np.isnan(x), -1, x)
        if (broken := x[x != np.rint(x)]).size:
            raise BadItem(f"{broken.flat[0]:g} is no class number: whole numbers are")
    if x.size and (largest := x.max()) > np.iinfo(np.int16).max:
        raise BadItem(f"class number {largest:g} is beyond {np.iinfo(np.int16).max}")
    return np.where(x < 0, -1, x).astype(np.int16)


class Modality:
    """Base of all modalities; one instance serves one data set, described by its Spec.

    unit: what an item is called in sentences ("images"). ignores: what `augment` teaches the model to ignore, in words.
    tasks: pretext task -> number of answers. missing: task -> why this very data has it not.
    parts: views of the task "permute". gives: the kinds of views that exist here.
    tiles: parts a side that `tiles_of` cuts, 0 = none.
    """

    unit: ClassVar[str] = "items"
    item_bytes: ClassVar[int] = 4  # of one stored value
    axes: ClassVar[int] = 0  # of an array of items that is of this kind unless it is named otherwise; 0 = none
    reads_files: ClassVar[bool] = False  # a single file is an item
    tagged: ClassVar[str] = "positions"  # what a tag belongs to, in sentences
    untagged: ClassVar[int | None] = None  # the class number that stands for "unknown" where files have no negative ones
    # what the planner starts from: method, batch, lr, weight_decay; passes over the data when no budget is given, or
    # steps, a number or a function of (spec, items); optim: further settings of the optimizer; size: of the preferred backbone; modality:
    # hyperparameters; it serves its own method
    preset: ClassVar[Mapping[str, Any]] = {
        "method": "simclr",
        "batch": 128,
        "lr": 2e-3,
        "weight_decay": 0.05,
        "passes": 200,
        "optim": {"kind": "muon"},
    }
    second: ClassVar[str] = "transformer"  # the backbone where the preferred one cannot what a method needs
    carried: ClassVar[Mapping[str, Any]] = {}  # method and optim with which a published network goes on learning, where others suit
    # hyperparameters that say how strong augmentation is, with values to try, the weakest first (off, where it can be)
    strengths: Mapping[str, Sequence[Any]] = {}
    ignores: str = ""
    tasks: Mapping[str, int] = {}
    missing: Mapping[str, str] = {}
    parts: int = 0
    gives: ClassVar[frozenset[str]] = frozenset({"global_", "local", "weak", "plain"})
    tiles: int = 0
    tuned: ClassVar[str] = "weak"  # the view that suits fine-tuning
    flat: ClassVar[bool] = False  # items of very different lengths, which `decode_many` reads
    written: ClassVar[bool] = False  # raw items are texts, which can be read again
    at_once: ClassVar[int] = 2**16  # values of such items, with their padding, that pass a network together
    smooth: ClassVar[bool] = False  # its values may change little by little, so that gradients of what goes in mean something
    explained: ClassVar[str] = "occlusion"  # the attribution that finds what matters in such data (docs/explaining.md)
    explained_with: ClassVar[Mapping[str, Any]] = {}  # its settings, where others than its own suit such data
    plainly: ClassVar[str] = "columns"  # the classic that shows what stands in such items where there is no network
    directions: ClassVar[bool] = False  # an embedding is the direction from the mean of the training items to an item
    probe_scale: ClassVar[str] = ""  # how embeddings of such data are standardised for a linear probe; "" = "columns"
    probe_c: ClassVar[float] = 1.0  # C of the linear probe where labels are few, of every representation of such data

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.layout = Layout(len(spec.sizes))
        self.sizes: tuple[int, ...] = spec.sizes

    # ---- left of the line: exact, one item at a time, on the CPU ----

    @classmethod
    def plan(cls, sample: Sequence[Raw], *, size: int | None = None, limit: int = 224) -> Spec:
        """Choose channels and stored size from a sample of raw items (unreadable ones are left out).

        size: training size that the user asked for, None = choose. limit: largest size that suits this machine.
        """
        raise NotImplementedError

    @classmethod
    def decode(cls, raw: Raw, spec: Spec) -> np.ndarray:
        """One item, [C, *S] (S shorter than spec.sizes only if spec.ragged), uint8 or float32. Raises BadItem."""
        raise NotImplementedError

    @classmethod
    def decode_block(cls, block: Any, spec: Spec) -> tuple[np.ndarray, int]:
        """Many items at once, [n, C, *S], and how many infinite values count as missing; for sources that read in blocks."""
        raise NotImplementedError

    @classmethod
    def decode_many(cls, block: Sequence[Any], spec: Spec) -> Iterator[np.ndarray | BadItem]:
        """Documents as numbers [n] each; only of data that is `flat`, stored one item behind the other."""
        raise NotImplementedError

    @classmethod
    def extent(cls, raw: Raw) -> tuple[int, ...]:
        """Size of a raw item as found, [*S]; of a file only the head is read. Raises BadItem."""
        return ()

    @classmethod
    def tags(cls, raw: Raw, spec: Spec) -> np.ndarray:
        """Class numbers of the positions of one item, int16 [*S] where `decode` puts them, -1 = unknown or padding. Raises BadItem."""
        if not isinstance(raw, np.ndarray) or raw.shape != spec.sizes:
            raise BadItem(f"tags are an array of shape {spec.sizes} here")
        return class_numbers(raw)

    @classmethod
    def example(cls) -> Spec:
        """A spec of typical data, for building without any."""
        raise NotImplementedError

    @classmethod
    def finish(cls, spec: Spec, x: np.ndarray) -> Spec:
        """Spec with mean, std and whatever else is measured on decoded training items x [n, C, *S] (padding = NaN)."""
        raise NotImplementedError

    @classmethod
    def like(cls, planned: Spec, trained: Spec) -> Spec:
        """The spec with which further data is decoded for a trained model."""
        return trained

    def cut_up(self, view: Batch, tokenizer: Tokenizer, most: int) -> Pieces:
        """The parts that an explanation of one item tells apart, at most `most`. view: the item as the encoder sees it, [1, ...]."""
        raise CannotPair(f"{self.spec.modality} data has no parts that could be explained")

    def without(self, view: Batch, pieces: Pieces, keep: Tensor, background: Tensor | None) -> Batch:
        """Copies of one item in which only some pieces are left, bool [K, P]; with background items [R, ...], R of each copy in a row."""
        raise CannotPair(f"{self.spec.modality} data has no parts that could be taken away")

    @classmethod
    def notes(cls, spec: Spec) -> list[str]:
        """What the user should know about how such data is read."""
        return []

    @classmethod
    def parts_of(cls, spec: Spec) -> list[tuple[str, str, str]]:
        """Name, kind and a few words for each named part of an item (columns of a table), for `inspect`; often none."""
        return []

    @classmethod
    def known(cls, sample: Sequence[Raw]) -> Spec | None:
        """The plan of further data for a trained model, where it can be made without looking at every item; None = as any other plan."""
        return None

    @classmethod
    def picture(cls, x: np.ndarray, spec: Spec, size: int = 32) -> bytes | None:
        """A small PNG that shows one decoded item to a person, None = no picture; size: pixels of the short side."""
        return None

    @classmethod
    def nuisances(cls, x: Any, lengths: np.ndarray | None, spec: Spec) -> dict[str, np.ndarray]:
        """Numbers of decoded items [N, ...] that say how they were taken and not what they show, float64 [N] each."""
        return nuisances.of_arrays(np.asarray(x), lengths)

    @classmethod
    def prints(cls, x: Any, spec: Spec) -> np.ndarray | None:
        """Prints by which copies are found, float32 [N, V, P] of unit length: of the whole item, then of parts that a copy may have kept;
        None = what the classic `plainly` says of it will do."""
        return None

    @classmethod
    def apart(cls, x: Any, pairs: np.ndarray) -> np.ndarray | None:
        """How far the print of the first item of each pair [n, 2] is from the part of the second that fits it best; None = as by prints."""
        return None

    @classmethod
    def played(cls, x: np.ndarray, spec: Spec) -> bytes | None:
        """One decoded item as a WAV file that a person can hear, None = it is no sound."""
        return None

    @classmethod
    def suggest(cls, spec: Spec, items: int, seconds: float | None) -> tuple[str, str]:
        """The method that suits so many such items in so much time (None = unknown), and the measured reason."""
        method = str(cls.preset["method"])
        return method, because(method, cls.__name__.lower())

    @classmethod
    def settings(cls, method: str, spec: Spec) -> Mapping[str, Any]:
        """The preset if this is its method; any other starts from what suits most, with what the method itself wants otherwise."""
        if method == cls.preset["method"]:
            return cls.preset
        return {**Modality.preset, **registry.find("methods", method).preset}

    @classmethod
    def prefer(cls, spec: Spec, device: str) -> tuple[str, str]:
        """The backbone that suits such data on such a device, and the reason."""
        return "transformer", "takes tokens of any kind of data"

    # ---- right of the line: random, batched, on the device ----

    def load(self, x: Tensor) -> Tensor:
        """Stored values (uint8 or float32) as the float32 that Batch.x holds."""
        return x.float()

    def views(self, batch: Batch, want: Views, generator: torch.Generator, cell: Sequence[int]) -> list[Batch]:
        """The views that a method asked for, in the order of the fields of Views; those of a pretext task come last.

        cell: the encoder's cell in samples; crops snap their length and offset to it.
        Raises CannotPair if this modality has no such view or task.
        """
        out = []
        for kind in ("global_", "local", "weak", "plain", "crop"):
            for _ in range(getattr(want, kind)):
                out.append(self.augment(batch, kind, generator, cell, want))
        return out + (self.pretext(want.task, batch, generator, cell) if want.task else [])

    def tiles_of(self, batch: Batch) -> list[Batch]:
        """Fixed parts of every item, the same number for all, whose mean and deviation join the embedding of the whole; often none."""
        return []

    def ignored(self, want: Views) -> str:
        """What views like these teach a model to ignore, in words."""
        if want.global_ or want.local:
            return self.ignores
        if want.weak or want.task:
            return "position and scale, slightly"
        return "where a window begins and ends" if want.crop else "nothing: every item is shown as it is"

    def check(self, want: Views) -> None:
        """Raise CannotPair unless every kind of view and task in `want` exists here."""
        name = type(self).__name__.lower()
        if want.task and want.task not in self.tasks:
            reason = self.missing.get(want.task) or f"{name} data has no pretext task {want.task!r}"
            raise CannotPair(reason, "use a method that asks for global views, such as simclr")
        for kind in ("global_", "local", "weak", "plain", "crop"):
            if getattr(want, kind) and kind not in self.gives:
                raise CannotPair(f"{name} data has no {kind.strip('_')} views", "use a method that asks for global views, such as simclr")

    def augment(self, batch: Batch, kind: str, generator: torch.Generator, cell: Sequence[int], want: Views = RECIPE) -> Batch:
        """One random view of every item; `plain` is the item itself at the training size. want: the method's recipe."""
        raise NotImplementedError

    def pretext(self, task: str, batch: Batch, generator: torch.Generator, cell: Sequence[int]) -> list[Batch]:
        """The views of a pretext task; the last one carries `answer`."""
        raise NotImplementedError

    @classmethod
    def step_of(cls, spec: Spec) -> int:
        """Stored values along the last axis that one tag stands for."""
        return 1

    @property
    def most(self) -> tuple[int, ...]:
        """Size of the longest item that was learned from, as the network sees it."""
        return self.sizes

    def samples_of(self, cell: Sequence[int]) -> int:
        """Stored values along the last axis that one cell of an encoder covers."""
        return cell[-1]

    def reasons(self, item: Strange, most: int) -> list[Reason]:
        """Why an item is strange, the strangest part first, in the data's own terms."""
        return [((i,), f"part {i + 1} of {len(item.evidence)} is not as the others let expect") for i in item.strongest(most)]

    def tokenizer(self, dense: bool) -> Tokenizer:
        """A fresh tokenizer; dense = patch size 1 and raw channels, for convolutional backbones."""
        raise NotImplementedError
