"""How long does CC2D take to find landmarks by a shot? `python benchmarks/landmark_matching.py [--images 150]`.

The network has the paper's widths (VGG19) and random weights, which change no time. Prints seconds for it and for the
matching, which is a batched product over landmarks.
"""

from __future__ import annotations

import argparse
import time

import torch

from medzoo.core.runs.allocator import keep_freed_memory
from medzoo.landmark.matching import search
from medzoo.landmark.matching.cascade import Cascade
from medzoo.landmark.networks.embedding import Embedders, EmbeddingUNet
from medzoo.landmark.shots import Shots, standardise


def main() -> None:
    """Print the seconds for some images of 384² with 19 landmarks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=150)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--landmarks", type=int, default=19)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bf16", action="store_true", help="as `--trainer.precision bf16-mixed` does")
    args = parser.parse_args()
    keep_freed_memory(large_blocks=True)  # as the command line does
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    network = Embedders([EmbeddingUNet(1)]).eval().to(memory_format=torch.channels_last)
    cascade, device = Cascade(), torch.device("cpu")
    shots: Shots = {"image": torch.rand(1, 1, 384, 384), "points": torch.rand(1, args.landmarks, 2) * 383}
    seconds = {"network": 0.0, "matching": 0.0}
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
        templates = cascade.templates(network, shots, 0, device)
        for _ in range(0, args.images, args.batch):
            image = torch.rand(args.batch, 1, 384, 384)
            start = time.perf_counter()
            features = network(standardise(image), 0)
            between = time.perf_counter()
            search.find(features, templates, network.strides, cascade.fuse, cascade.upsampling)
            seconds["network"] += between - start
            seconds["matching"] += time.perf_counter() - between
    kind = "bf16" if args.bf16 else "float32"
    print(f"{args.images} images of 384², {args.landmarks} landmarks, {args.threads} threads, {kind}")
    print(
        " | ".join(f"{name} {value:.1f} s" for name, value in seconds.items()), f"| sum {sum(seconds.values()):.1f} s"
    )


if __name__ == "__main__":
    main()
