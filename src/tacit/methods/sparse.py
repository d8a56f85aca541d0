from __future__ import annotations

from torch import Tensor, nn

from tacit.encoder import Encoder
from tacit.losses import full_precision
from tacit.method import Method
from tacit.types import Batch, Context, Count, Info, NonNegative, Step, Views


class Sparse(Method):
    """Explain every cell as a sum of a few atoms of a learned dictionary.

    The encoder finds the atoms from the cell and its surroundings. atoms: size of the dictionary. sparsity: price of using an atom, in
    squared standard deviations of the data. It needs no augmentation and no decoder.
    """

    family = "generative"
    when = "parts are to be read off, one atom each, or items are tiny"
    source = "Olshausen & Field 1996; codes come from the encoder as in Gregor & LeCun 2010, instead of an inner optimisation"
    preset = {"batch": 64}  # compares no items within a batch, so more and smaller steps serve it
    views, needs = Views(weak=1), frozenset({"tokens"})

    def __init__(self, encoder: Encoder, info: Info, *, atoms: Count = 512, sparsity: NonNegative = 0.1) -> None:
        super().__init__(encoder, info)
        self.code, self.dictionary = nn.Linear(encoder.dim, atoms), encoder.head(atoms)
        self.sparsity = sparsity

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        (x,) = views
        f = self.encoder(x)
        codes = self.code(f.tokens[f.valid]).relu()
        error = self.encoder.target(x, raw=True).distance(self.dictionary(codes), f.valid)
        # weighing a code with the length of its atom leaves nothing to gain from small codes and long atoms
        price = _mean_length(codes, self.dictionary.get_parameter("weight"))
        active = (codes.detach() > 0).float().mean()
        return Step(error + self.sparsity * price, f.pooled.detach(), {"error": error.detach(), "active": active}, chance=1.0)


@full_precision
def _mean_length(codes: Tensor, atoms: Tensor) -> Tensor:
    """Sum of codes [K, atoms] times the length of each atom [P, atoms], mean over cells, for each of the P values."""
    return (codes * atoms.norm(dim=0)).sum(1).mean() / len(atoms) ** 0.5
