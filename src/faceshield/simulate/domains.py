"""FaceShield-Sim: three simulated domains in place of WMCA, SiW-Mv2 and PADISI-Face, and a fourth to train the foundation.

W, S and P have the mix of presentation types of the data set that they stand for, including its missing types (paper §3.1; our
mapping of the published labels, docs/datasets.md). No two domains share a person, a camera, a background or a renderer variant:
testing on one a model trained on the two others is like testing on another laboratory's recordings. D has all twelve types, in
all the variants that the three lack, and serves the foundation alone: a model trained on it has seen much, but nothing of the
domain that it is tested on.

A domain is data: if you change a number here, change `VERSION` too. Card: docs/faceshield_sim.md.
Use: `faceshield simulate --domain W --count 5037 --seed 1 --out sim/W`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from faceshield.simulate.camera import Camera
from faceshield.simulate.photos import SPLIT_SHARES
from faceshield.simulate.scene import Setting
from faceshield.taxonomy import ATTACK_TYPES, BONAFIDE

VERSION = 4
"""Version of the benchmark and of all that the simulator draws: the same version, seed and count give the same pictures."""
LEAST_INK = 0.19
"""Minimum width of tattoos: no camera here resolves smaller ones, see `Setting.least_ink`."""


@dataclass(frozen=True)
class Domain:
    """One simulated laboratory.

    Attributes:
        name: one letter. stands_for: the data set whose mix of types it has.
        number: part of its seed, so that its randomness is its own.
        pictures: number of pictures in the full benchmark.
        counts: relative frequency of each presentation type; a type not listed is missing.
        variants: renderer variants of each attack type, in equal shares.
        cameras: each picture is taken with one of them.
        setting: backgrounds, framing, light.
    """

    name: str
    stands_for: str
    number: int
    pictures: int
    counts: Mapping[str, int]
    variants: Mapping[str, tuple[str, ...]]
    cameras: tuple[Camera, ...]
    setting: Setting

    def draw_variant(self, presentation_type: str, rng: np.random.Generator) -> str | None:
        """A variant of an attack type; None for bona fide."""
        if presentation_type == BONAFIDE:
            return None
        own = self.variants[presentation_type]
        return own[int(rng.integers(len(own)))]

    def draw_camera(self, rng: np.random.Generator) -> Camera:
        """One of the cameras, independent of the type."""
        return self.cameras[int(rng.integers(len(self.cameras)))]


DOMAINS: dict[str, Domain] = {
    domain.name: domain
    for domain in (
        Domain(
            "W", "WMCA", 1, 3 * 1679,  # three frames per video, as the paper's 12,091 pictures suggest
            counts={
                BONAFIDE: 347, "Fakehead": 122, "Print": 200, "Glasses": 75, "Replay": 348, "Paper mask": 71,
                "Flexible mask": 379, "Rigid mask": 137,
            },
            variants={
                "Fakehead": ("fakehead/plastic", "fakehead/plaster"),
                "Print": ("print/photo-paper",),
                "Glasses": ("glasses/bulging-eyes", "glasses/paper"),
                "Replay": ("replay/tablet",),
                "Paper mask": ("paper-mask/papercraft", "paper-mask/grey"),
                "Flexible mask": ("flexible-mask/smooth", "flexible-mask/old-man"),
                "Rigid mask": ("rigid-mask/resin",),
            },
            cameras=(
                Camera("W-station", resolution=(0.52, 0.60), warmth=(-0.02, 0.02), gamma=(0.96, 1.05), quality=(93, 96),
                       noise=(0.002, 0.010), defocus=(0.0, 0.5)),
            ),
            setting=Setting(("room", "room", "window"), face_height=(0.62, 0.80), light_x=(-0.4, 0.4), shade=(0.0, 0.4),
                            back_light=0.05),
        ),
        Domain(
            "S", "SiW-Mv2", 2, 3 * 1675,
            counts={
                BONAFIDE: 785, "Fakehead": 40, "Print": 135, "Glasses": 255, "Replay": 98, "Paper mask": 17,
                "Flexible mask": 17, "Rigid mask": 132, "Partial Eye": 57, "Partial Mouth": 29, "Makeup": 135,
            },
            variants={
                "Fakehead": ("fakehead/dressed",),
                "Print": ("print/inkjet",),
                "Glasses": ("glasses/funny-eyes", "glasses/paper-holes"),
                "Replay": ("replay/phone",),
                "Paper mask": ("paper-mask/photo",),
                "Flexible mask": ("flexible-mask/hooded",),
                "Rigid mask": ("rigid-mask/half",),
                "Partial Eye": ("partial-eye/strip", "partial-eye/other-person"),
                "Partial Mouth": ("partial-mouth/piece", "partial-mouth/other-person"),
                "Makeup": ("makeup/drag", "makeup/impersonation"),
            },
            cameras=(
                Camera("S-webcam", resolution=(0.92, 0.95), warmth=(-0.10, -0.07), gamma=(0.80, 0.84), quality=(56, 63),
                       noise=(0.010, 0.030), sharpen=120, motion=(0.0, 3.0)),
                Camera("S-reflex", resolution=(0.96, 1.0), warmth=(-0.06, -0.04), gamma=(0.86, 0.91), quality=(64, 71),
                       noise=(0.0, 0.006), sharpen=60),
            ),
            setting=Setting(("outdoors", "clutter"), face_height=(0.42, 0.66), shade=(0.0, 0.8), back_light=0.2),
        ),
        Domain(
            "P", "PADISI-Face", 3, 2029,
            counts={
                BONAFIDE: 1105, "Fakehead": 71, "Print": 56, "Glasses": 206, "Flexible mask": 33, "Rigid mask": 259,
                "Makeup": 206, "Tattoo": 93,
            },
            variants={
                "Fakehead": ("fakehead/wig",),
                "Print": ("print/laser",),
                "Glasses": ("glasses/printed-eyes",),
                "Flexible mask": ("flexible-mask/bearded",),
                "Rigid mask": ("rigid-mask/transparent",),
                "Makeup": ("makeup/old-age", "makeup/theatre"),
                "Tattoo": ("tattoo/tribal", "tattoo/letters", "tattoo/symbol"),
            },
            cameras=(
                Camera("P-rig", resolution=(0.70, 0.78), warmth=(0.05, 0.09), gamma=(1.12, 1.22), quality=(86, 90),
                       noise=(0.004, 0.014), vignette=(0.1, 0.4), lift=(0.02, 0.08)),
            ),
            setting=Setting(("wall",), face_height=(0.54, 0.72), light_x=(-0.2, 0.2), light_y=(-0.4, 0.2), shade=(0.0, 0.25),
                            back_light=0.0, least_ink=LEAST_INK),
        ),
        Domain(
            "D", "nothing: the foundation's", 4, 24_000,
            counts={BONAFIDE: 11, **dict.fromkeys(ATTACK_TYPES, 3)},
            variants={  # all that the other three lack
                "Fakehead": ("fakehead/dark-resin", "fakehead/foam", "fakehead/wax", "fakehead/bronze", "fakehead/cloth"),
                "Print": ("print/newsprint-bw", "print/magazine", "print/instant", "print/card", "print/canvas",
                          "print/photocopy"),
                "Glasses": ("glasses/drawn-eyes", "glasses/party", "glasses/googly", "glasses/sleep-mask", "glasses/goggles"),
                "Replay": ("replay/monitor", "replay/tv", "replay/laptop", "replay/tube", "replay/reader", "replay/lamps",
                           "replay/projector"),
                "Paper mask": ("paper-mask/crumpled", "paper-mask/card", "paper-mask/bag", "paper-mask/fan",
                               "paper-mask/papier-mache"),
                "Flexible mask": ("flexible-mask/latex", "flexible-mask/printed-fabric", "flexible-mask/alien",
                                  "flexible-mask/clear-skin"),
                "Rigid mask": ("rigid-mask/plastic", "rigid-mask/halloween", "rigid-mask/wooden", "rigid-mask/hockey",
                               "rigid-mask/printed-3d"),
                "Partial Eye": ("partial-eye/grey-print", "partial-eye/two-pieces", "partial-eye/one-eye", "partial-eye/glossy",
                                "partial-eye/torn", "partial-eye/upper-face"),
                "Partial Mouth": ("partial-mouth/lower-face", "partial-mouth/grey-print", "partial-mouth/glossy",
                                  "partial-mouth/torn", "partial-mouth/nose-too"),
                "Makeup": ("makeup/white-face", "makeup/corpse", "makeup/dazzle", "makeup/clown", "makeup/animal",
                           "makeup/skull", "makeup/metallic"),
                "Tattoo": ("tattoo/stars", "tattoo/web", "tattoo/bars", "tattoo/moko", "tattoo/flowers", "tattoo/flames",
                           "tattoo/mandala"),
            },
            cameras=(
                Camera("D-old", resolution=(0.40, 0.51), warmth=(-0.18, -0.12), gamma=(1.25, 1.40), quality=(45, 55),
                       noise=(0.015, 0.04), grain=0.5, motion=(0.0, 2.0)),
                Camera("D-doorbell", resolution=(0.42, 0.51), warmth=(0.025, 0.045), gamma=(1.06, 1.11), quality=(30, 44),
                       noise=(0.02, 0.05), vignette=(0.2, 0.6), motion=(0.0, 4.0)),
                Camera("D-soft", resolution=(0.40, 0.51), warmth=(0.10, 0.20), gamma=(0.915, 0.955), quality=(72, 85),
                       defocus=(0.4, 1.2)),
                Camera("D-warm", resolution=(0.61, 0.69), warmth=(0.10, 0.16), gamma=(0.68, 0.78), quality=(72, 79),
                       noise=(0.0, 0.012), sharpen=60),
                Camera("D-pale", resolution=(0.61, 0.69), warmth=(-0.18, -0.11), gamma=(1.23, 1.35), quality=(97, 98),
                       noise=(0.004, 0.02), saturation=(0.1, 0.4)),
                Camera("D-cheap", resolution=(0.61, 0.69), warmth=(0.025, 0.045), gamma=(0.62, 0.78), quality=(30, 55),
                       noise=(0.02, 0.06), gain=(0.7, 1.4), lift=(0.02, 0.10), grain=1.0),
                Camera("D-video", resolution=(0.62, 0.69), warmth=(0.10, 0.18), gamma=(1.06, 1.11), quality=(72, 85),
                       sharpen=100, motion=(0.0, 5.0)),
                Camera("D-plain", resolution=(0.79, 0.91), warmth=(0.025, 0.045), gamma=(1.06, 1.11), quality=(80, 85),
                       noise=(0.0, 0.02), vignette=(0.0, 0.5)),
                Camera("D-phone", resolution=(0.80, 0.91), warmth=(0.10, 0.14), gamma=(0.915, 0.955), quality=(91, 92),
                       noise=(0.0, 0.004), contrast=(1.0, 1.3), saturation=(1.1, 1.4), sharpen=150),
                Camera("D-studio", resolution=(0.82, 0.91), warmth=(-0.16, -0.11), gamma=(0.70, 0.79), quality=(97, 98),
                       noise=(0.0, 0.003), defocus=(0.0, 0.2)),
            ),
            setting=Setting(("curtain", "tiles", "lights", "gallery", "desk", "disorder"), face_height=(0.40, 0.82),
                            hard_light=0.1, coloured_light=0.1, veil=0.05, dressed=0.2, blown=0.3, marks=0.3, holder=0.3,
                            good_copy=0.3, least_ink=LEAST_INK),
        ),
    )
}  # fmt: skip


def domain_named(name: str) -> Domain:
    """The domain with this name; raises ValueError for an unknown one."""
    if name not in DOMAINS:
        raise ValueError(f"domain {name!r} — expected one of {', '.join(DOMAINS)} — use one of them")
    return DOMAINS[name]


def domain_schedule(domain: Domain, count: int, seed: int) -> list[tuple[str, str]]:
    """(split, presentation type) of every picture, shuffled; each split has the domain's mix up to rounding."""
    rows = [
        (split, kind)
        for split, pictures in _shared_out(SPLIT_SHARES, count).items()
        for kind, number in _shared_out(domain.counts, pictures).items()
        for _ in range(number)
    ]
    order = np.random.default_rng([VERSION, domain.number, seed, 1]).permutation(len(rows))
    return [rows[place] for place in order]


def _shared_out(shares: Mapping[str, float], total: int) -> dict[str, int]:
    """Divides `total` into whole numbers in proportion to the shares, by largest remainder (the first wins ties)."""
    exact = {name: total * share / sum(shares.values()) for name, share in shares.items()}
    whole = {name: int(value) for name, value in exact.items()}
    left = sorted(shares, key=lambda name: whole[name] - exact[name])[: total - sum(whole.values())]
    return {name: number + (name in left) for name, number in whole.items()}
