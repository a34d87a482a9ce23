"""Names of the checkpoints of a run."""

LAST, BEST = "last.ckpt", "best.ckpt"
