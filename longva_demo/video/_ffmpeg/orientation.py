"""The display matrix, which says how stored frames are rotated and mirrored for display. Runs in the worker.

The matrix (ISO/IEC 14496-12, 6.2.2, as FFmpeg returns it) is nine numbers a b u c d v x y w. The point (p, q) of the
stored frame is shown at (a·p + c·q, b·p + d·q); the vertical axis points down.
"""

import struct
from dataclasses import dataclass

import numpy as np
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame

MATRIX = struct.Struct("=9i")
CLOCKWISE = ((1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0))  # (a, b, c, d) of 0, 90, 180, 270 degrees


@dataclass(frozen=True)
class Orientation:
    """The stored frame is mirrored (left to right) if `is_mirrored`, then rotated clockwise by `rotation` degrees."""

    rotation: int = 0
    is_mirrored: bool = False

    @property
    def is_sideways(self) -> bool:
        """Whether width and height are swapped."""
        return self.rotation % 180 == 90

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """A view of stored pixels (height, width, …) as they are shown."""
        return np.rot90(pixels[:, ::-1] if self.is_mirrored else pixels, -self.rotation // 90)

    @property
    def rotation_only(self) -> "Orientation":
        """The orientation seen by a program that only knows angles: the angle of the first axis."""
        return Orientation((self.rotation + 180 * self.is_mirrored) % 360)

    def undo(self, pixels: np.ndarray) -> np.ndarray:
        """A view of displayed pixels as they are stored."""
        stored = np.rot90(pixels, self.rotation // 90)
        return stored[:, ::-1] if self.is_mirrored else stored


AS_STORED = Orientation()
ORIENTATIONS = [Orientation(90 * turns, is_mirrored) for is_mirrored in (False, True) for turns in range(4)]


def orientation_of(frame: VideoFrame) -> Orientation:
    data = frame.side_data.get("DISPLAYMATRIX")
    return from_matrix(MATRIX.unpack_from(data)) if isinstance(data, SideData) else AS_STORED


def from_matrix(matrix: tuple[int, ...]) -> Orientation:
    """The orientation nearest to the matrix. A singular matrix, which would show nothing, is ignored.

    Examples of (a, b, c, d): 0 1 -1 0 rotates by 90 degrees, -1 0 0 1 mirrors, 0.9 0.4 -0.4 0.9 (24 degrees) is
    upright, 0 0 0 0 is singular.
    """
    a, b, _, c, d = matrix[:5]
    across, down = np.hypot(a, b), np.hypot(c, d)
    if abs(a * d - b * c) < 1e-6 * across * down or not across * down:
        return AS_STORED
    given = np.array([a / across, b / across, c / down, d / down])
    return max(ORIENTATIONS, key=lambda one: float(given @ linear_part(one)))


def linear_part(orientation: Orientation) -> np.ndarray:
    """(a, b, c, d) of an orientation."""
    sign = -1 if orientation.is_mirrored else 1
    a, b, c, d = CLOCKWISE[orientation.rotation // 90]
    return np.array([sign * a, sign * b, c, d])
