"""Measures the data engine: both instruction sets from 12,091 samples, and calls per second to an endpoint.

    python benchmarks/data_engine.py sets                 # one core; renders the pool of samples first
    python benchmarks/data_engine.py sets --pool samples.jsonl
    python benchmarks/data_engine.py throughput           # a local server that takes 200 ms per call

The samples of `sets` are records only: what the simulator wrote about a pool of rendered pictures (types, boxes, cues, scenes),
sampled with replacement in the paper's class balance as far as it is known. The grammar opens no picture.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from faceshield.data_engine.backends import BackendConfig, make_backend
from faceshield.data_engine.build import BuildConfig, build
from faceshield.data_engine.contradictions import contradictions
from faceshield.data_engine.generate import GenerateConfig, generate
from faceshield.records import Dialogue, Sample, iter_jsonl, read_jsonl, write_jsonl
from faceshield.taxonomy import BONAFIDE

ROOT = Path(__file__).resolve().parents[1]

# Videos of WMCA and SiW-Mv2 and samples of PADISI-Face by presentation type, as published for the three sets. One picture of
# each PADISI sample and three frames of each video make 12,166; the paper has 12,091, so it lacks 25 videos of SiW-Mv2.
# Paper is silent on which: we leave them out of the largest class, bona fide.
UNITS = {
    "Bonafide": (347, 785 - 25, 1105),
    "Fakehead": (122, 40, 71),
    "Print": (200, 135, 56),
    "Glasses": (75, 255, 206),
    "Replay": (348, 98, 0),
    "Paper mask": (71, 17, 0),
    "Flexible mask": (379, 17, 33),
    "Rigid mask": (137, 132, 259),
    "Partial Eye": (0, 57, 0),
    "Partial Mouth": (0, 29, 0),
    "Makeup": (0, 135, 206),
    "Tattoo": (0, 0, 93),
}
BOXES = 3139  # attack pictures with boxes


def paper_samples(pool: list[Sample], out: Path, seed: int = 0) -> int:
    """Writes 12,091 samples in the paper's balance, each a copy of a pool sample of its type, and returns their number."""
    by_type = defaultdict(list)
    for sample in pool:
        by_type[sample.presentation_type].append(sample)
    rng = np.random.default_rng(seed)
    rows: list[Sample] = []
    for kind, (wmca, siw, padisi) in UNITS.items():
        for source, count in (("wmca", 3 * wmca), ("siw-mv2", 3 * siw), ("padisi", padisi)):
            for _ in range(count):
                like = by_type[kind][int(rng.integers(len(by_type[kind])))]
                name = f"{source}-{len(rows):05d}"
                rows.append(like.model_copy(update={"id": name, "image": f"images/{name}.jpg", "dataset": source}))
    attacks = [index for index, row in enumerate(rows) if row.presentation_type != BONAFIDE]
    boxed = set(rng.permutation(attacks)[:BOXES].tolist())
    rows = [row if i in boxed else row.model_copy(update={"boxes": []}) for i, row in enumerate(rows)]
    return write_jsonl(out, (rows[i] for i in rng.permutation(len(rows))))


def sets(pool: Path | None, out: Path) -> None:
    if pool is None:
        from faceshield.simulate.dataset import SimulateConfig, simulate

        start = time.perf_counter()
        pool = simulate(out / "pool", SimulateConfig(faces="drawn", count=240, seed=5))
        print(f"pool: 240 pictures rendered in {time.perf_counter() - start:.0f} s (not part of the time below)", flush=True)
    samples = out / "samples.jsonl"
    print(f"samples: {paper_samples(read_jsonl(pool, Sample), samples):,}", flush=True)
    total = 0.0
    for name, wanted in (("sft45k", 45_000), ("pre10k", 10_000)):
        recipe = BuildConfig.load(ROOT / "configs" / "data" / f"{name}.yaml", [f"samples={samples}", f"out={out / name}"])
        start, worked = time.perf_counter(), time.process_time()
        built = build(recipe)
        seconds, cpu = time.perf_counter() - start, time.process_time() - worked
        total += seconds
        count = built.numbers["dialogues"]
        off = f"{100 * (count / wanted - 1):+.2f}% of {wanted:,}"
        print(f"{name}: {count:,} dialogues in {seconds:.0f} s, {cpu:.0f} s of them on a core ({off})")
        for step, result in built.steps.items():
            print(f"  {step}: {result.rows:,} dialogues, {result.rejects:,} left out")
        for task, row in built.numbers["words"].items():
            print(
                f"  {task}: {built.numbers['counts']['task'][task]:,} dialogues, {row['question wordings']} question wordings, "
                f"{row['answer wordings']:,} answer wordings, distinct-4 {row['distinct-4']}"
            )
        wrong = sum(bool(contradictions(row)) for row in iter_jsonl(built.dialogues, Dialogue))
        print(f"  contradict their label or box, by the tasks' own readers: {wrong} of {count:,}", flush=True)
    print(f"both: {total:.0f} s")


def throughput(concurrencies: list[int], seconds: float, latency: float) -> None:
    import skimage.data
    from PIL import Image

    server = subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "support" / "openai_server.py"), "--latency", str(latency)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        with tempfile.TemporaryDirectory() as folder:
            # One file per sample, so that every call has a picture to decode and send.
            face = Image.fromarray(skimage.data.astronaut())
            for index in range(round(max(concurrencies) * seconds / latency)):
                face.save(Path(folder) / f"{index}.jpg")
            for concurrency in concurrencies:
                count = max(1, round(concurrency * seconds / latency))
                rows = [
                    Sample(
                        id=str(index), image=f"{index}.jpg", dataset="d", is_attack=False, presentation_type=BONAFIDE,
                        original_label="", size_wh=(512, 512), meta={"cues": [f"cue {index}"]},
                    )
                    for index in range(count)
                ]  # fmt: skip
                samples = Path(folder) / f"samples-{concurrency}.jsonl"
                write_jsonl(samples, rows)
                config = BackendConfig(kind="openai", base_url=url, model="m", concurrency=concurrency)
                backend = make_backend(config, cache=Path(folder) / f"{concurrency}.sqlite")
                backend.write(rows[0], "fine", 1, seed=1, image=Path(folder) / "0.jpg")  # connection and imports
                start, worked = time.perf_counter(), time.process_time()
                asked = GenerateConfig(tasks=("coarse",), backend=config)
                result = generate(samples, Path(folder) / f"{concurrency}.jsonl", asked, seed=0, backend=backend)
                took, cpu = time.perf_counter() - start, time.process_time() - worked
                backend.close()
                assert result.rows == count
                best = concurrency / latency
                print(
                    f"concurrency {concurrency}: {count / took:.1f} calls/s of {best:.0f} ({100 * count / took / best:.1f}%), "
                    f"{1000 * cpu / count:.1f} ms of a core each",
                    flush=True,
                )
    finally:
        server.kill()
        server.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("sets")
    one.add_argument("--pool", type=Path, help="a simulated samples.jsonl instead of 240 new pictures")
    one.add_argument("--out", type=Path, help="keep everything here (default: a temporary folder)")
    two = verbs.add_parser("throughput")
    two.add_argument("--concurrency", type=int, nargs="+", default=[4, 8, 16])
    two.add_argument("--seconds", type=float, default=20.0, help="each")
    two.add_argument("--latency", type=float, default=0.2)
    options = parser.parse_args()
    if options.verb == "throughput":
        throughput(options.concurrency, options.seconds, options.latency)
    elif options.out is not None:
        sets(options.pool, options.out)
    else:
        with tempfile.TemporaryDirectory() as folder:
            sets(options.pool, Path(folder))


if __name__ == "__main__":
    main()
