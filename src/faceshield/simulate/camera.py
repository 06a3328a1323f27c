"""One camera model for every class: the last step in making a picture, bona fide or not.

All classes share one wide distribution of settings, from a studio camera to a cheap webcam, so that no global nuisance
(sharpness, noise, colour, compression) tells them apart.

    picture = capture(scene.image, rng, size=224)
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from faceshield.simulate.portrait import LUMA, FloatImage


@dataclass(frozen=True)
class CameraSettings:
    """Settings of one exposure; lengths are in pixels of the finished picture.

    Attributes:
        resolution: sensor pixels per finished pixel along each side, 0.2..1; below 1 the picture is enlarged from fewer pixels.
        defocus: Gaussian blur, standard deviation.
        motion: length of a straight motion blur; `motion_angle` in radians.
        gain: exposure as a factor; above 1 highlights clip.
        balance: white balance, three factors.
        gamma: tone curve exponent; contrast: slope of an S-curve around mid-grey.
        saturation: 0 grey, 1 unchanged.
        vignette: darkening of the corners, 0..1.
        noise: its strength, 0..1; chroma: share of it that is colour, 0..1; grain: its correlation length, in pixels. The
            standard deviation, before the tone curve, is noise * sqrt(brightness + 0.1), at mid-grey 0.77 of noise.
        sharpen: unsharp masking in per cent.
        quality: JPEG quality; quality_before: that of an earlier compression, or None.
        lift: black level, 0..1.
        smoothing: share of fine, faint detail removed by a denoiser or a beauty filter, 0..1.
    """

    resolution: float
    defocus: float
    motion: float
    motion_angle: float
    gain: float
    balance: tuple[float, float, float]
    gamma: float
    contrast: float
    saturation: float
    vignette: float
    noise: float
    chroma: float
    grain: float
    sharpen: int
    quality: int
    quality_before: int | None
    lift: float
    smoothing: float = 0.0


Range = tuple[float, float]
"""(minimum, maximum)."""


@dataclass(frozen=True)
class Camera:
    """One camera model, whose exposures have each setting uniform within a range; see `CameraSettings`.

    Attributes:
        name: recorded in each sample's `meta`.
        warmth: white balance, red against blue; 0 is neutral.
    """

    name: str
    resolution: Range
    warmth: Range
    gamma: Range
    quality: tuple[int, int]
    noise: Range = (0.0, 0.01)
    defocus: Range = (0.0, 0.8)
    gain: Range = (0.85, 1.2)
    contrast: Range = (0.85, 1.15)
    saturation: Range = (0.8, 1.2)
    vignette: Range = (0.0, 0.3)
    lift: Range = (0.0, 0.05)
    grain: float = 0.0
    sharpen: int = 0
    motion: Range = (0.0, 1.0)

    def draw(self, rng: np.random.Generator) -> CameraSettings:
        """The settings of one exposure."""
        warm = float(rng.uniform(*self.warmth))
        names = (
            "resolution", "gamma", "noise", "defocus", "gain", "contrast", "saturation", "vignette", "lift", "motion",
        )  # fmt: skip
        return CameraSettings(
            **{name: float(rng.uniform(*getattr(self, name))) for name in names},
            balance=(1 + warm, 1.0, 1 - warm),
            motion_angle=float(rng.uniform(0, np.pi)),
            chroma=0.5,
            grain=self.grain,
            sharpen=self.sharpen,
            quality=int(rng.integers(self.quality[0], self.quality[1] + 1)),
            quality_before=None,
        )


_GOOD_CAMERAS = 0.4


def draw_severity(rng: np.random.Generator) -> float:
    """Severity for `draw_settings`: 1 (the full range), or in four of ten pictures that of a good camera, 0.2 to 0.6."""
    return float(rng.uniform(0.2, 0.6)) if rng.random() < _GOOD_CAMERAS else 1.0


def draw_settings(rng: np.random.Generator, severity: float = 1.0) -> CameraSettings:
    """Draws the settings of one exposure; `severity` 0 is a nearly perfect camera, 1 the full range.

    Most are ordinary; each rarer fault has its own share of the pictures, so that none is new to a model: no colour
    (black-and-white, infrared), a missed white balance, over- and under-exposure, a small face enlarged, strong JPEG
    compression, and the smoothing of phones and beauty filters. Between 0 and 1, `severity` makes faults rarer and weaker in
    proportion, but the factor of such an exposure, the small face, JPEG and smoothing only rarer.
    """

    def rare(share: float) -> bool:
        return bool(rng.random() < share * severity)

    warm = rng.normal(0, 0.07) * severity
    green = rng.normal(0, 0.025) * severity
    colourless = rare(0.12)
    if rare(0.15):  # balanced for lamps in daylight or vice versa; green or purple fluorescent tubes
        warm = rng.choice([-1.0, 1.0]) * rng.uniform(0.12, 0.38) * severity
        green += rng.normal(0, 0.07) * severity
    elif colourless and rng.random() < 0.7:  # otherwise the picture is toned
        warm = green = 0.0
    poor = rare(0.35)  # a webcam or an old phone: its faults come together
    resolution = 1 - severity * (rng.uniform(0.2, 0.55) if poor else rng.uniform(0.0, 0.3))
    if rare(0.06):  # cropped from a group photograph, or seen by a ceiling camera
        resolution = rng.uniform(0.2, 0.42)
    gain, noise = np.exp(rng.normal(0.02, 0.22) * severity), severity * rng.gamma(1.3, 0.018 if poor else 0.009)
    if rare(0.06):
        gain = np.exp(rng.uniform(0.25, 0.6))
    elif rare(0.06):  # too little light, amplified
        gain, noise = np.exp(rng.uniform(-1.1, -0.45)), noise * rng.uniform(1.5, 3.0)
    quality = float(np.clip(rng.normal(72 if poor else 86, 10), 30, 97))
    if rare(0.08):
        quality = rng.uniform(12, 35)
    return CameraSettings(
        resolution=float(resolution),
        defocus=float(severity * rng.gamma(1.5, 0.28)),
        motion=float(severity * rng.gamma(1.2, 1.2)) if rng.random() < 0.2 else 0.0,
        motion_angle=float(rng.uniform(0, np.pi)),
        gain=float(gain),
        balance=(float(1 + warm), float(1 + green), float(1 - warm)),
        gamma=float(np.exp(rng.normal(0, 0.18) * severity)),
        contrast=float(np.exp(rng.normal(0, 0.2) * severity)),
        saturation=0.0 if colourless else float(np.clip(1 + rng.normal(0, 0.25) * severity, 0.0, 1.7)),
        vignette=float(severity * rng.beta(1, 3) * 0.6),
        noise=float(noise),
        chroma=float(rng.uniform(0.1, 0.9)),
        grain=float(rng.choice([0.0, 0.5, 0.9])),
        sharpen=int(rng.choice([0, 0, 60, 120, 200]) * severity),
        quality=int(quality) if severity else 97,
        quality_before=int(rng.integers(20 if rare(0.2) else 40, 95)) if rare(0.4) else None,
        lift=float(severity * rng.beta(1, 6) * 0.2),
        smoothing=float(rng.uniform(0.3, 1.0)) if rare(0.12) else 0.0,
    )


def sensor_pixels(size: int, camera: CameraSettings) -> int:
    """Sensor pixels along the longer side of a picture of `size` pixels."""
    return max(32, round(size * camera.resolution))


def capture(
    image: FloatImage, rng: np.random.Generator, *, size: int = 224, settings: CameraSettings | None = None
) -> NDArray[np.uint8]:
    """Photographs a canvas.

    Args:
        image: (H, W, 3) float32 sRGB in 0..1.
        size: longer side of the finished picture in pixels.
        settings: drawn from `rng` if None; `rng` also makes the noise.

    Returns:
        (h, w, 3) uint8 RGB with the canvas' aspect ratio, as decoded from the camera's JPEG.
    """
    camera = settings or draw_settings(rng)
    lens = Image.fromarray((image.clip(0, 1) * 255 + 0.5).astype(np.uint8))
    longer = max(lens.size)
    finished = (round(lens.width * size / longer), round(lens.height * size / longer))
    blur = camera.defocus * longer / size
    if blur > 0.25:
        lens = lens.filter(ImageFilter.GaussianBlur(blur))
    sensor_side = sensor_pixels(size, camera)
    pixels = (max(16, round(finished[0] * sensor_side / size)), max(16, round(finished[1] * sensor_side / size)))
    sensor = np.asarray(lens.resize(pixels, Image.Resampling.BOX), np.float32) / 255.0
    moved = camera.motion * sensor_side / size
    if moved > _LEAST_MOTION:
        sensor = _motion_blur(sensor, moved, camera.motion_angle)
    sensor = _expose(sensor, camera)
    sensor = _add_noise(sensor, camera, rng)
    sensor = _develop(sensor, camera)
    if camera.smoothing:
        sensor = _smooth(sensor, camera.smoothing)
    picture = Image.fromarray((sensor.clip(0, 1) * 255 + 0.5).astype(np.uint8))
    if camera.quality_before is not None:
        picture = jpeg(picture, camera.quality_before)
    if pixels != finished:
        picture = picture.resize(finished, Image.Resampling.BICUBIC)
    if camera.sharpen:
        picture = picture.filter(ImageFilter.UnsharpMask(1.2, camera.sharpen, 2))
    return np.asarray(jpeg(picture, camera.quality))


def _expose(light: FloatImage, camera: CameraSettings) -> FloatImage:
    """What the sensor receives, before the tone curve: exposure and vignette."""
    down, across = (np.linspace(-1, 1, side, dtype=np.float32) for side in light.shape[:2])
    corner = 1 - camera.vignette * 0.5 * (down[:, None] ** 2 + across[None, :] ** 2)
    return light * ((camera.gain * corner) ** np.float32(1 / camera.gamma))[..., None]


def _develop(sensor: FloatImage, camera: CameraSettings) -> FloatImage:
    """The picture made of the sensor's, noise included: tone curve, white balance, colour, contrast, black level."""
    toned = np.power(sensor.clip(1e-4), np.float32(camera.gamma))
    if camera.saturation == 0:  # the balance then tones the greys, as old paper and night cameras do
        toned[:] = (toned @ LUMA)[..., None]
    toned *= np.asarray(camera.balance, np.float32)
    if camera.saturation:
        grey = toned @ LUMA
        toned = grey[..., None] + camera.saturation * (toned - grey[..., None])
    toned = 0.5 + camera.contrast * (toned - 0.5)
    return (camera.lift + (1 - camera.lift) * toned).clip(0, 1).astype(np.float32)


def _add_noise(image: FloatImage, camera: CameraSettings, rng: np.random.Generator) -> FloatImage:
    if camera.noise <= 0:
        return image
    luma = rng.standard_normal((*image.shape[:2], 1), dtype=np.float32)
    colour = rng.standard_normal(image.shape, dtype=np.float32)
    noise = (luma * (1 - camera.chroma) + colour * camera.chroma) / np.float32(np.hypot(1 - camera.chroma, camera.chroma))
    if camera.grain:
        from scipy.ndimage import gaussian_filter

        smooth = gaussian_filter(noise, (camera.grain, camera.grain, 0))
        noise = smooth / max(float(smooth.std()), 1e-6)
    brightness = np.sqrt(image.mean(axis=2, keepdims=True) + 0.1)  # shot noise grows with light
    return (image + camera.noise * brightness * noise).astype(np.float32)


def _smooth(image: FloatImage, strength: float) -> FloatImage:
    """Removes detail that is both fine and faint (pores, noise, wrinkles) and keeps edges."""
    from scipy.ndimage import gaussian_filter

    radius = 0.012 * max(image.shape)
    soft = gaussian_filter(image, (radius, radius, 0))
    faint = np.exp(-((np.abs(image - soft).mean(axis=2, keepdims=True) / 0.05) ** 2))
    return (image + strength * faint * (soft - image)).astype(np.float32)


_LEAST_MOTION = 0.2
"""Sensor pixels; shorter motion blurs leave the picture as it is."""


def _motion_blur(image: FloatImage, length: float, angle: float) -> FloatImage:
    """Mean of the picture over a straight path of `length` pixels about its place, between pixels interpolated bilinearly."""
    steps = 8 * int(np.ceil(length))
    path = ((np.arange(steps) + 0.5) / steps - 0.5) * length
    x, y = path * np.cos(angle), path * np.sin(angle)
    reach = int(np.ceil(length / 2))
    offsets = np.arange(-reach, reach + 1)
    along_x, along_y = ((1 - np.abs(offsets - line[:, None])).clip(0) for line in (x, y))
    weights = (along_y.T @ along_x / steps).astype(np.float32)
    height, width = image.shape[:2]
    padded = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    total = np.zeros_like(image)
    for row, column in np.argwhere(weights > 1e-3):
        total += weights[row, column] * padded[row : row + height, column : column + width]
    return total / weights[weights > 1e-3].sum()


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    """The picture as RGB after JPEG compression at this quality (1..100)."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    buffer.seek(0)
    return Image.open(buffer).convert("RGB")
