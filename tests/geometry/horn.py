"""Registration by another road, one pair of sets at a time."""

import numpy as np


def horn(source, target, weights, similarity):
    """Slow reference: Horn 1987's quaternion of the largest eigenvalue; the scale as a regression through it."""
    share = weights / weights.sum()
    x, y = source - share @ source, target - share @ target
    sxx, sxy, sxz, syx, syy, syz, szx, szy, szz = ((share[:, None] * x).T @ y).ravel()
    values, vectors = np.linalg.eigh(
        [
            [sxx + syy + szz, syz - szy, szx - sxz, sxy - syx],
            [syz - szy, sxx - syy - szz, sxy + syx, szx + sxz],
            [szx - sxz, sxy + syx, -sxx + syy - szz, syz + szy],
            [sxy - syx, szx + sxz, syz + szy, -sxx - syy + szz],
        ]
    )
    a, b, c, d = vectors[:, values.argmax()]
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a - b * b + c * c - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a - b * b - c * c + d * d],
        ]
    )
    along = x @ rotation.T
    scale = (share @ (along * y).sum(axis=1)) / (share @ (along**2).sum(axis=1)) if similarity else 1.0
    return scale, rotation, share @ target - scale * rotation @ (share @ source)
