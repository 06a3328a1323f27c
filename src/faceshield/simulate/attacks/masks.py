"""Masks: `apply_paper`, `apply_flexible` (silicone, latex, cloth) and `apply_rigid` (plastic, resin, wood).

attacked = apply_rigid(scene, rng)
"""

from __future__ import annotations

from faceshield.simulate.attacks import masks_paper, masks_rigid, masks_soft

PAPER_VARIANTS = masks_paper.VARIANTS
FLEXIBLE_VARIANTS = masks_soft.VARIANTS
RIGID_VARIANTS = masks_rigid.VARIANTS
VARIANTS: tuple[str, ...] = PAPER_VARIANTS + FLEXIBLE_VARIANTS + RIGID_VARIANTS
PAPER_CUES, FLEXIBLE_CUES, RIGID_CUES = masks_paper.CUES, masks_soft.CUES, masks_rigid.CUES

apply_paper = masks_paper.apply
apply_flexible = masks_soft.apply
apply_rigid = masks_rigid.apply
