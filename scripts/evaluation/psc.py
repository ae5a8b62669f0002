"""PSC (AGFN, Eq. 8): how much the error of a prediction depends on where its representation lies in a 2-D t-SNE."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

if TYPE_CHECKING:
    from numpy.typing import NDArray


def psc(xy: NDArray[np.float32], error: NDArray[np.float32]) -> tuple[float, float]:
    """Return PSC, (|corr(x, error)| + |corr(y, error)|) / 2, and the multiple R of the error on (x, y).

    PSC changes when the map is turned; the multiple R does not.
    """
    single = float(np.mean([abs(np.corrcoef(xy[:, axis], error)[0, 1]) for axis in range(2)]))
    design = np.column_stack([np.ones(len(xy)), xy])
    fitted = design @ np.linalg.lstsq(design, error, rcond=None)[0]
    return single, float(np.sqrt(np.var(fitted) / np.var(error)))


def over_seeds(hidden: NDArray[np.float32], error: NDArray[np.float32], seeds: int) -> dict[str, float]:
    """Mean PSC and multiple R over several t-SNE seeds, with the paper's settings.

    Args:
        hidden: (S, N, h) representations of S models.
        error: (S, N) absolute errors.
        seeds: t-SNE runs; run i maps model i modulo S.
    """
    found = []
    for seed in range(seeds):
        model = seed % len(hidden)
        # The start is the paper's pca, with a little noise of its own seed: else every run gives the same map.
        start = PCA(2, random_state=seed).fit_transform(hidden[model])
        start = start / start[:, 0].std() * 1e-4
        start += np.random.default_rng(seed).normal(0, 1e-5, start.shape)
        tsne = TSNE(
            perplexity=30, learning_rate=200.0, early_exaggeration=12, max_iter=2000, init=start, random_state=seed
        )
        found.append(psc(tsne.fit_transform(hidden[model]), error[model]))
    psc_values, multiple = np.array(found).T
    return {"psc": float(psc_values.mean()), "psc_std": float(psc_values.std()), "multiple_r": float(multiple.mean())}
