"""Tone mapping: HDR and wide-gamut frames to sRGB.

PQ and HLG transfer functions: ITU-R BT.2100-2, tables 4 and 5. Reference white, 203 cd/m²: ITU-R BT.2408. Primaries:
ITU-R BT.709, BT.2020, SMPTE EG 432-1. Code points: ITU-T H.273. sRGB: IEC 61966-2-1.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

PQ, HLG = 16, 18  # H.273 transfer characteristics
BT709, BT2020, UNSPECIFIED = 1, 9, 2  # H.273 colour primaries
SDR_CURVES = {1, 14, 15}  # with BT.2020 primaries: SDR video with a wide gamut
HDR_NAMES = {PQ: "PQ", HLG: "HLG"}

WHITE = (0.3127, 0.3290)  # D65
PRIMARIES = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
REFERENCE_WHITE = 203.0  # cd/m²
HLG_PEAK, HLG_GAMMA = 1000.0, 1.2  # nominal display: peak in cd/m², system gamma
KNEE = 0.75  # fraction of reference white; values up to here are unchanged
ROWS_PER_BLOCK = 64  # processed at a time, to bound memory


def needs_mapping(transfer: int, primaries: int) -> bool:
    """Whether pixels with this transfer function and these primaries (H.273) need conversion to sRGB."""
    return transfer in HDR_NAMES or (transfer in SDR_CURVES and primaries == BT2020)


def to_srgb(pixels: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
    """Convert full-range uint16 RGB (height, width, 3) to sRGB, uint8 of the same shape."""
    out = np.empty(pixels.shape, dtype=np.uint8)
    linearise = {PQ: from_pq, HLG: from_hlg}.get(transfer, from_sdr)
    matrix = to_bt709(primaries if primaries in PRIMARIES else BT2020)
    for top in range(0, len(pixels), ROWS_PER_BLOCK):
        light = linearise(pixels[top : top + ROWS_PER_BLOCK]) @ matrix.T
        np.clip(light, 0, None, out=light)  # colours outside the sRGB gamut
        if transfer in HDR_NAMES:
            light = compress(light)
        out[top : top + ROWS_PER_BLOCK] = srgb_table()[(np.minimum(light, 1) * 65535 + 0.5).astype(np.uint16)]
    return out


def compress(light: np.ndarray) -> np.ndarray:
    """Compress light of any level to below 1, keeping hues: the largest of red, green and blue sets the scale.

    Values up to KNEE are unchanged. Above, with k = 1 - KNEE and t = (x - KNEE) / k, x becomes KNEE + k·t / (1 + t).
    The slope at the knee is 1 (Reinhard et al. 2002, equation 3, from the knee on). White, 1, becomes 0.875.
    """
    strongest = light.max(axis=-1, keepdims=True)
    rest = 1 - KNEE
    above = np.maximum(strongest - KNEE, 0) / rest
    mapped = np.where(strongest > KNEE, KNEE + rest * above / (1 + above), strongest)
    return np.asarray(light * (mapped / np.maximum(strongest, 1e-9)))


def from_pq(pixels: np.ndarray) -> np.ndarray:
    """Linear light per channel; 1 is reference white."""
    return table(pq_light)[pixels]


def from_hlg(pixels: np.ndarray) -> np.ndarray:
    """Linear light on a 1,000 cd/m² display; 1 is reference white."""
    scene = table(hlg_light)[pixels]
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593], dtype=np.float32)
    return np.asarray(scene * (luminance[..., None] ** (HLG_GAMMA - 1)) * np.float32(HLG_PEAK / REFERENCE_WHITE))


def from_sdr(pixels: np.ndarray) -> np.ndarray:
    """Linear light of SDR video by the sRGB curve, as screens show it: greys are unchanged."""
    return table(srgb_light)[pixels]


def pq_light(signal: np.ndarray) -> np.ndarray:
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    power = signal ** (1 / m2)
    return np.asarray(10_000 / REFERENCE_WHITE * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1))


def hlg_light(signal: np.ndarray) -> np.ndarray:
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    return np.asarray(np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12))


def srgb_light(signal: np.ndarray) -> np.ndarray:
    return np.asarray(np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4))


@lru_cache(maxsize=4)
def table(curve: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """(65536,) float32: the curve at each 16-bit value."""
    return curve(np.arange(65536) / 65535).astype(np.float32)


@lru_cache(maxsize=1)
def srgb_table() -> np.ndarray:
    """(65536,) uint8: the sRGB value of each light level."""
    light = np.arange(65536) / 65535
    signal = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return (signal * 255 + 0.5).astype(np.uint8)


@lru_cache(maxsize=4)
def to_bt709(primaries: int) -> np.ndarray:
    """(3, 3) float32: linear RGB with these primaries to linear BT.709."""
    return (np.linalg.inv(rgb_to_xyz(BT709)) @ rgb_to_xyz(primaries)).astype(np.float32)


def rgb_to_xyz(primaries: int) -> np.ndarray:
    """(3, 3), by SMPTE RP 177: equal amounts of the three primaries give the white point D65."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in PRIMARIES[primaries]]).T
    x, y = WHITE
    white = np.array([x / y, 1, (1 - x - y) / y])
    return np.asarray(columns * np.linalg.solve(columns, white))
