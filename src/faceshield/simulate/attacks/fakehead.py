"""Fake heads: mannequins of plastic, plaster or resin, bald or in a wig, with painted or moulded eyes.

    attacked = apply(scene, rng)
"""

from __future__ import annotations

import numpy as np

from faceshield.simulate.attacks.paint import blur, chance, colour, ellipse, pick, shapes, strokes, unique
from faceshield.simulate.attacks.surface import Frame, ambient_light, exposure, relief, shade
from faceshield.simulate.portrait import Attacked, FloatImage, Scene, blend, bounding_box, smooth_noise

VARIANTS = ("fakehead/plastic", "fakehead/plaster", "fakehead/wig", "fakehead/dark-resin")
CUES = (
    "a mannequin head", "uniform plastic skin", "painted eyes", "moulded blank eyes", "a wig", "glossy highlights",
    "matt plaster skin",
)  # fmt: skip


def apply(scene: Scene, rng: np.random.Generator, *, variant: str | None = None) -> Attacked:
    """A made head in the place of the person's."""
    name = pick(rng, VARIANTS, variant)
    frame = Frame(scene.landmarks)
    uv = frame.uv
    wig = name.endswith("wig")
    skull = frame.px(ellipse((0, -0.15), (rng.uniform(1.2, 1.38), 0), (0, rng.uniform(1.75, 2.0)), 2.2))
    neck = frame.px([(-0.75, 1.0), (0.75, 1.0), (0.85, 3.4), (-0.85, 3.4)])
    head = shapes([skull, frame.outline(1.05)])
    made = np.maximum(head, shapes([neck]))
    height = relief(frame, rng, strength=rng.uniform(0.8, 1.3), spread=0.2)
    matt = name.endswith("plaster")
    diffuse, specular = shade(
        height, scene.light_xy, ambient=rng.uniform(0.35, 0.55), shininess=rng.uniform(6, 10) if matt else rng.uniform(20, 70)
    )
    lamp = exposure(scene, frame)
    bases = {
        "fakehead/plastic": [(0.85, 0.68, 0.55), (0.8, 0.6, 0.5), (0.9, 0.78, 0.68)],
        "fakehead/plaster": [(0.9, 0.89, 0.86), (0.8, 0.78, 0.74)],
        "fakehead/wig": [(0.86, 0.7, 0.6), (0.7, 0.5, 0.4), (0.92, 0.82, 0.75)],
        "fakehead/dark-resin": [(0.12, 0.12, 0.13), (0.3, 0.22, 0.18), (0.55, 0.5, 0.2)],
    }[name]
    base = np.broadcast_to(colour(rng, bases, 0.04), (*diffuse.shape, 3)).astype(np.float32)
    cues = ["a mannequin head", "matt plaster skin" if matt else "uniform plastic skin"]
    if not matt and chance(rng, 0.75):
        base = _painted(frame, base, rng)
        cues.append("painted eyes")
    else:
        cues.append("moulded blank eyes")
    light = (lamp * diffuse * ambient_light(scene, frame) ** 0.5)[..., None]
    gloss = 0.05 if matt else rng.uniform(0.3, 0.9)
    surface = base * light + blur(specular, frame.span * 0.02)[..., None] * gloss
    if gloss > 0.3:
        cues.append("glossy highlights")
    image = blend(scene.image, surface.astype(np.float32), made)
    box_mask = head
    if wig:
        image, hair = _wig(scene, frame, image, rng, lamp)
        box_mask = np.maximum(head, hair)
        cues.append("a wig")
    fade = blur(made, 1.0)
    image = blend(scene.image, image, np.maximum(fade, box_mask))
    del uv
    box = bounding_box(box_mask)
    return Attacked(image.clip(0, 1), (box,) if box else (), unique(cues), name, scene.landmarks)


def _painted(frame: Frame, base: FloatImage, rng: np.random.Generator) -> FloatImage:
    iris = colour(rng, [(0.2, 0.4, 0.7), (0.25, 0.15, 0.08), (0.2, 0.4, 0.25)])
    for side in (-1, 1):
        base = blend(base, np.asarray([0.95, 0.95, 0.93], np.float32), shapes([frame.px(ellipse((side * 0.5, 0.02), (0.24, 0), (0, 0.1)))]))
        base = blend(base, iris, shapes([frame.px(ellipse((side * 0.5, 0.02), (0.1, 0), (0, 0.1)))]))
        base = blend(base, np.zeros(3, np.float32), shapes([frame.px(ellipse((side * 0.5, 0.02), (0.045, 0), (0, 0.045)))]))
        lid = frame.px([(side * 0.5 - 0.25, 0.02), (side * 0.5, -0.1), (side * 0.5 + 0.25, 0.02)])
        base = blend(base, np.asarray([0.1, 0.06, 0.05], np.float32), strokes([lid], frame.span * 0.035))
    brow = colour(rng, [(0.15, 0.1, 0.06), (0.4, 0.28, 0.18)])
    arcs = [frame.px([(s * 0.2, -0.32), (s * 0.5, -0.42), (s * 0.82, -0.3)]) for s in (-1, 1)]
    base = blend(base, brow, strokes(arcs, frame.span * rng.uniform(0.04, 0.08)))
    lips = frame.px(ellipse((0, 1.12), (0.36, 0), (0, 0.13)))
    return blend(base, colour(rng, [(0.75, 0.25, 0.28), (0.8, 0.45, 0.42)]), shapes([lips]))


def _wig(
    scene: Scene, frame: Frame, image: FloatImage, rng: np.random.Generator, lamp: float
) -> tuple[FloatImage, np.ndarray]:
    down = rng.uniform(0.2, 2.6)
    cap = frame.px(ellipse((0, -0.35), (1.5, 0), (0, 1.85), 2.2))
    sides = [frame.px([(s * 0.95, -0.6), (s * 1.5, -0.6), (s * 1.45, down), (s * 1.02, down)]) for s in (-1, 1)]
    face = frame.px(ellipse((0, 0.55), (1.05, 0), (0, rng.uniform(1.25, 1.5)), 2.4))
    hair = np.maximum(shapes([cap], [face]), shapes(sides, [face]))
    strand = np.sin(frame.uv[..., 0] * rng.uniform(50, 90) + 3 * smooth_noise(rng, cells=6)[..., 0])
    tone = colour(rng, [(0.08, 0.06, 0.05), (0.35, 0.22, 0.12), (0.7, 0.55, 0.3), (0.6, 0.15, 0.1), (0.75, 0.75, 0.75)])
    paint = tone * (lamp * (0.8 + 0.25 * strand))[..., None]
    return blend(image, paint.astype(np.float32), hair), hair
