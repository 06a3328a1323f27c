"""Whole processes: killed at random moments, on a full disk, and two at once (DDP, FSDP2 on gloo)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from faceshield.model import load
from faceshield.training.watch import LOG_FILE, read_log

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
FACESHIELD = [sys.executable, "-m", "faceshield"]
TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "faceshield"]


def command(toy: Path, dialogues: Path, out: Path, *more: str) -> list[str]:
    return [
        "train", "sft", f"init={toy}", f"dialogues=[{dialogues}]", f"out={out}", f"cache={out.parent / 'cache'}",
        "threads=1", "lora_r=4", "lora_alpha=8", "learning_rate=0.01", "log_every=1", "report_to=[]", *more,
    ]  # fmt: skip


def run(arguments: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(arguments, capture_output=True, text=True, env=environment, **options)  # type: ignore[call-overload,no-any-return]


def losses(out: Path) -> list[float]:
    return [row["loss"] for row in read_log(out / LOG_FILE)]


def test_killed_ten_times_the_weights_are_those_of_an_uninterrupted_run(
    toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path
) -> None:
    more = ("max_steps=150", "save_steps=2", "batch_size=4", "pack=true", "cache_features=true")
    whole, again = (command(toy_folder, dialogues_jsonl, tmp_path / name, *more) for name in ("whole", "again"))
    start = time.monotonic()
    assert run([*FACESHIELD, *whole]).returncode == 0
    rng, seconds, kills = random.Random(0), time.monotonic() - start, 0
    log, done = tmp_path / "again" / LOG_FILE, 0
    while kills < 10:
        process = subprocess.Popen([*FACESHIELD, *again], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        limit = time.monotonic() + 10 * seconds
        # Somewhere in the next fifteenth of the run, wherever in a step that is.
        while process.poll() is None and time.monotonic() < limit and len(read_log(log) if log.exists() else []) <= done + 4:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "ended before it could be killed ten times"
        kills, done = kills + 1, len(read_log(log))
    assert run([*FACESHIELD, *again]).returncode == 0
    first, second = (load(tmp_path / name).model.state_dict() for name in ("whole", "again"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert losses(tmp_path / "whole") == losses(tmp_path / "again") and len(losses(tmp_path / "again")) == 150


def test_a_full_disk_stops_with_a_message_and_keeps_the_last_good_checkpoint(
    toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path
) -> None:
    """No file may grow beyond a limit that the features fit in and a state does not."""
    arguments = command(toy_folder, dialogues_jsonl, tmp_path / "out", "max_steps=4", "save_steps=2", "batch_size=2")
    assert run([*FACESHIELD, *arguments[:-3], "max_steps=2", "batch_size=2", "save_steps=2"]).returncode == 0
    good = tmp_path / "out/trainer/checkpoint-2/state.safetensors"
    before = good.read_bytes()
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) // 2}, {len(before) // 2}))\n"
    code = limit + f"import sys; sys.argv = {['faceshield', *arguments]!r}\nfrom faceshield.cli import main; main()"
    done = run([sys.executable, "-c", code])
    assert done.returncode == 2 and "free some space" in done.stderr, done.stderr[-2000:]
    assert good.read_bytes() == before and [f.name for f in good.parent.parent.iterdir() if f.suffix] == []
    assert run([*FACESHIELD, *arguments]).returncode == 0 and len(losses(tmp_path / "out")) == 4


@pytest.mark.parametrize("fsdp", [False, True], ids=["ddp", "fsdp2"])
@pytest.mark.parametrize("cached", [True, False], ids=["cached", "live"])
def test_two_processes_equal_one(toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path, fsdp: bool, cached: bool) -> None:
    more = ("max_steps=20", "bf16=false", "pack=true", "lora_dropout=0", f"cache_features={str(cached).lower()}")
    one = command(toy_folder, dialogues_jsonl, tmp_path / "one", *more, "batch_size=4")
    two = command(toy_folder, dialogues_jsonl, tmp_path / "two", *more, "batch_size=2", f"fsdp={str(fsdp).lower()}")
    for arguments in ([*FACESHIELD, *one], [*TWO, *two]):
        done = run(arguments)
        assert done.returncode == 0, done.stderr[-3000:]
    first, second = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(first) == 20 and first == pytest.approx(second, abs=1e-4)
    models = [load(tmp_path / name).model.state_dict() for name in ("one", "two")]
    assert all(torch.allclose(value, models[1][name], atol=1e-3) for name, value in models[0].items())


def test_two_processes_follow_one_clock(toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path) -> None:
    """Each by its own, they would take the same gradient at two rates, and one of them would wait for a step more."""
    told = tmp_path / "weights"
    code = (
        "import os, sys, time\n"
        "from faceshield.training import schedule, trainer\n"
        "real = schedule.Clock.elapsed\n"
        "schedule.Clock.elapsed = lambda self: real(self) + 2 * int(os.environ['RANK'])\n"
        "end = trainer.StageTrainer.run\n"
        "def run(self):\n"
        "    steps = end(self)\n"
        "    total = sum(p.detach().double().sum().item() for p in self.model.parameters() if p.requires_grad)\n"
        f"    open({str(told)!r} + os.environ['RANK'], 'w').write(f'{{steps}} {{total!r}}')\n"
        "    return steps\n"
        "trainer.StageTrainer.run = run\n"
        "from faceshield.cli import main\n"
        "main()\n"
    )
    (tmp_path / "clocks.py").write_text(code)
    arguments = command(
        toy_folder, dialogues_jsonl, tmp_path / "out", "minutes=0.1", "epochs=1000", "batch_size=2", "cache_features=true"
    )
    done = run([*TWO[:-2], str(tmp_path / "clocks.py"), *arguments])
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (Path(f"{told}{rank}").read_text() for rank in range(2))
    assert first == second and int(first.split()[0]) > 2
