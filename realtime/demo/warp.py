"""Thin-plate warps of a picture: where each output pixel is looked up, from how a few points move. Pure arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Points = NDArray[np.float64]  # (N, 2) in pixels, x then y
    Field = NDArray[np.float32]  # (H, W, 2): out(x, y) = in(x + field[..., 0], y + field[..., 1])

_ROWS_AT_ONCE = 4096


def _kernel(a: Points, b: Points) -> NDArray[np.float64]:
    """The thin-plate kernel r^2 log r^2 between two sets of points, (len(a), len(b))."""
    squared = (a[:, :1] - b[None, :, 0]) ** 2 + (a[:, 1:] - b[None, :, 1]) ** 2
    kernel: NDArray[np.float64] = squared * np.log(np.maximum(squared, 1e-12))
    return kernel


def thin_plate(nodes: Points, values: NDArray[np.float64], at: Points) -> NDArray[np.float64]:
    """Interpolate `values` (N, K), given at distinct `nodes` (N, 2), to the points `at` (M, 2).

    Returns:
        (M, K), the interpolant of least bending energy (Bookstein 1989).
    """
    count = len(nodes)
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = _kernel(nodes, nodes) + 1e-6 * np.eye(count)
    affine = np.hstack([np.ones((count, 1)), nodes])
    system[:count, count:], system[count:, :count] = affine, affine.T
    weights = np.linalg.solve(system, np.vstack([values, np.zeros((3, values.shape[1]))]))
    blocks = [at[i : i + _ROWS_AT_ONCE] for i in range(0, len(at), _ROWS_AT_ONCE)]
    return np.vstack([_kernel(b, nodes) @ weights[:count] + weights[count] + b @ weights[count + 1 :] for b in blocks])


def field(moved: Points, moves: Points, size: tuple[int, int], step: int) -> Field:
    """The warp of a `size` = (H, W) picture that carries each point `moved - moves` to `moved`.

    It is worked out on a grid of `step` pixels and is zero along the picture's border.
    """
    import cv2  # noqa: PLC0415 - heavy, and only a warp needs it

    height, width = size
    ys, xs = np.mgrid[0 : height + step : step, 0 : width + step : step].astype(np.float64)
    along = np.linspace(0.0, 1.0, 9)
    border = [(a * width, b * height) for a in along for b in along if a in (0.0, 1.0) or b in (0.0, 1.0)]
    nodes = np.vstack([moved, border])
    values = np.vstack([-moves, np.zeros((len(border), 2))])
    coarse = thin_plate(nodes, values, np.column_stack([xs.ravel(), ys.ravel()])).reshape(*xs.shape, 2)
    # Look the grid up at exact pixel places: cv2.resize would shift it by half a cell.
    px, py = np.meshgrid(np.arange(width) / step, np.arange(height) / step)
    dense = cv2.remap(coarse.astype(np.float32), px.astype(np.float32), py.astype(np.float32), cv2.INTER_LINEAR)
    return np.asarray(dense).astype(np.float32)
