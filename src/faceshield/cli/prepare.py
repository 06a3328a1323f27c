"""`faceshield prepare`: read a data set's copy, as it lies on disk, into samples.jsonl."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def prepare(
    dataset: Annotated[str, typer.Argument(help="Its name; `folder` for pictures of your own.")],
    root: Annotated[Path, typer.Argument(help="The folder in which the copy lies.")],
    out: Annotated[Path, typer.Option(help="The samples file to write.")],
    frames_per_video: Annotated[int, typer.Option(help="Evenly spaced over those that exist; 0 = all.")] = 3,
    crop: Annotated[
        str, typer.Option(help="as-is, detect (the largest face), or boxes (the face that the data set says).")
    ] = "as-is",
    margin: Annotated[
        float | None, typer.Option(help="Around a crop, as a share of the face's longer side; default: what `inspect` takes.")
    ] = None,
    detector: Annotated[
        str, typer.Option(help="module:class with detect(rgb) -> faces, for --crop detect.")
    ] = "faceshield.face:BuiltInDetector",
    faces: Annotated[Path | None, typer.Option(help="Faces for --crop boxes, in the formats of --boxes.")] = None,
    boxes: Annotated[
        Path | None, typer.Option(help="Attack regions: a file of COCO, VIA, Label Studio or CVAT, or a folder of VOC or YOLO.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="For `folder`: a name of the data set, to tell several folders of yours apart.")
    ] = None,
    types: Annotated[
        Path | None, typer.Option(help="YAML of own label: presentation type (null = leave out), for other mappings.")
    ] = None,
    known: Annotated[
        list[Path] | None, typer.Option(help="Samples files whose pictures count as duplicates; repeatable.")
    ] = None,
    lists: Annotated[
        Path | None, typer.Option(help="Folder of the data set's own lists and tables, if they are not below ROOT.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that read.")] = 2,
    timeout: Annotated[float, typer.Option(help="Seconds after which a file is given up.")] = 600.0,
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Open PADISI's joblib dump: a pickle, which can run code.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 2 if any sample was lost.")] = False,
) -> None:
    """Read a data set, or folders of your own.

    Whatever is wrong with a copy is listed in rejects.jsonl; the rest is read all the same.
    """
    from tqdm import tqdm

    from faceshield.config import near
    from faceshield.datasets import DATASETS, DataSet, PrepareConfig, read_types, rejects_path
    from faceshield.datasets import prepare as run
    from faceshield.datasets.folder import Folder
    from faceshield.datasets.padisi import Padisi
    from faceshield.provenance import check_not_read

    if dataset not in DATASETS:
        raise ValueError(f"unknown data set {dataset!r} — expected one of {', '.join(DATASETS)} — {near(dataset, DATASETS)}")
    if name is not None and (dataset != Folder.name or name in DATASETS.keys() - {Folder.name}):
        raise ValueError(
            f"--name {name} for {dataset} — expected a new one, for folder alone — choose another, or leave it out"
        )
    config = PrepareConfig.of(
        out=out,
        frames_per_video=frames_per_video,
        crop=crop,
        **({} if margin is None else {"margin": margin}),
        detector=detector,
        faces=faces,
        boxes=boxes,
        types=read_types(types) if types is not None else {},
        known=known or [],
        workers=workers,
        timeout=timeout,
    )
    check_not_read([out, rejects_path(out)], [types])
    if dataset == "padisi":
        data: DataSet = Padisi(root, lists=lists, trust_pickle=trust_pickle, scratch=out.parent)
    elif name is not None:
        data = Folder(root, lists=lists, name=name)
    else:
        data = DATASETS[dataset](root, lists=lists)
    if crop == "as-is" and data.crop not in (None, "as-is"):
        typer.echo(
            f"{dataset}: whole scenes, which stay whole; for the face crops that inspect judges: --crop {data.crop}", err=True
        )
    with tqdm(unit=" files", desc=dataset, mininterval=1.0) as bar:
        summary = run(data, config, lambda done: bar.update(done - bar.n))
    for line in summary.lines():
        typer.echo(line)
    count = sum(summary.rows.values())
    typer.echo(f"samples: {out} ({count:,}), problems: {rejects_path(out)} ({sum(summary.problems.values()):,})")
    if count == 0:
        why = f"see {rejects_path(out)}" if summary.problems else "no file in it is of a kind that is read: check the path"
        raise ValueError(f"{root}: nothing that could be read — expected a copy of {dataset!r} — {why}")
    if strict and summary.lost:
        raise typer.Exit(2)
