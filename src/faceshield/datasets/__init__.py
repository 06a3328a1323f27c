"""Readers of the licensed data sets: from the raw folders of a copy to `samples.jsonl`.

Use: `faceshield prepare wmca ROOT --out samples.jsonl`, or `prepare(DATASETS["wmca"](root), PrepareConfig(out=…))`.
"""

from __future__ import annotations

from faceshield.datasets.base import DataSet, Problem, Unit
from faceshield.datasets.casia_fasd import CasiaFasd
from faceshield.datasets.casia_surf import CasiaSurf
from faceshield.datasets.cefa import Cefa
from faceshield.datasets.celeba_spoof import CelebaSpoof
from faceshield.datasets.folder import Folder
from faceshield.datasets.hifimask import HiFiMask
from faceshield.datasets.hq_wmca import HqWmca
from faceshield.datasets.lcc_fasd import LccFasd
from faceshield.datasets.msu_mfsd import MsuMfsd
from faceshield.datasets.nuaa import Nuaa
from faceshield.datasets.oulu_npu import OuluNpu
from faceshield.datasets.padisi import Padisi
from faceshield.datasets.prepare import PrepareConfig, Summary, prepare, read_types, rejects_path
from faceshield.datasets.replay_attack import ReplayAttack
from faceshield.datasets.rose_youtu import RoseYoutu
from faceshield.datasets.siw import Siw
from faceshield.datasets.siw_mv2 import SiwMv2
from faceshield.datasets.splits import SplitConfig, SplitReport, split
from faceshield.datasets.uniattack import UniAttack
from faceshield.datasets.wmca import Wmca

_KINDS: tuple[type[DataSet], ...] = (
    Wmca, SiwMv2, Padisi, CelebaSpoof, OuluNpu, CasiaFasd, ReplayAttack, MsuMfsd, Siw, CasiaSurf, Cefa, HiFiMask,
    HqWmca, LccFasd, Nuaa, RoseYoutu, UniAttack, Folder,
)  # fmt: skip
DATASETS: dict[str, type[DataSet]] = {kind.name: kind for kind in _KINDS}

__all__ = [
    "DATASETS", "DataSet", "PrepareConfig", "Problem", "SplitReport", "SplitConfig", "Summary", "Unit", "prepare", "read_types",
    "rejects_path", "split",
]  # fmt: skip
