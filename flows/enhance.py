"""Stage `enhance@<backend>`: enhance the backend's test videos -> data/enhanced/<backend>."""

from __future__ import annotations

from pathlib import Path

from flows.stage import Stage, StageContext, main
from kpbe import paths


def enhance(context: StageContext) -> Path:
    """Enhance a backend's test videos with the trained frontend."""
    from kpbe.checkpoints.catalogue import trained_weights
    from kpbe.inference.enhance import enhance_clips

    backend = context.backend
    out = paths.ENHANCED_VIDEOS / backend
    enhance_clips(
        backend,
        context.params,
        paths.CLIPS,
        paths.BACKEND_VIDEOS / backend,
        trained_weights(paths.STAGE2 / backend),
        out,
        map=context.map,
    )
    return out


if __name__ == "__main__":
    main(Stage(enhance, per_backend=True, holds_network=True))
