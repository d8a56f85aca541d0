from __future__ import annotations

from tacit.encoder import Encoder
from tacit.layers import mlp
from tacit.losses import cosine_distance
from tacit.method import Method
from tacit.schedules import cosine
from tacit.teacher import Teacher
from tacit.types import Batch, Context, Count, Info, Share, Step, Views


class BYOL(Method):
    """Predict a slow teacher's view of an item from the student's other view; no negatives.

    The student is kept, as in the paper.

    hidden, out: widths of projector and predictor. momentum: the teacher's decay, which rises to 1 and is less in the first steps
    (0.99 instead of the paper's 0.996, which is for a hundred times more steps).
    """

    family = "distillation"
    when = "negatives hurt, because many items are alike; it needs longer training than contrastive methods"
    source = "Grill et al. 2020, arXiv:2006.07733; the loss is the mean of both directions, half of the paper's"
    views = Views(global_=2)

    def __init__(self, encoder: Encoder, info: Info, *, hidden: Count = 512, out: Count = 128, momentum: Share = 0.99) -> None:
        super().__init__(encoder, info)
        self.projector = mlp(encoder.dim, hidden, out)
        self.predictor = mlp(out, hidden, out)
        self.teacher, self.teacher_projector = Teacher(encoder), Teacher(self.projector)
        self.momentum = momentum

    def forward(self, views: list[Batch], ctx: Context) -> Step:
        students = [f.pooled for f in self.encoder.each(views)]
        guesses = [self.predictor(self.projector(h)) for h in students]
        goals = [self.teacher_projector(self.teacher(v).pooled) for v in views]
        loss = (cosine_distance(guesses[0], goals[1]) + cosine_distance(guesses[1], goals[0])) / 2
        return Step(loss, students[0].detach(), chance=2.0)

    def after_step(self, ctx: Context) -> None:
        momentum = cosine(self.momentum, 1.0, ctx.progress)
        self.teacher.follow(self.encoder, momentum)
        self.teacher_projector.follow(self.projector, momentum)
