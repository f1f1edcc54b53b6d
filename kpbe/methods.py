"""The compared methods: their names in result files and folders, and their display names.

A method is `static source`, a backend (`wav2lip`), the backend enhanced by KPBE (`wav2lip+kpbe`), or a
control of that (`wav2lip+kpbe+source_expression`), which is KPBE with one of its inputs replaced.
"""

from __future__ import annotations

STATIC_SOURCE = "static source"

SOURCE_EXPRESSION = "source_expression"
"""The source image replaces every frame of the backend: KPBE's gain without any backend."""
SHUFFLED_BACKEND = "shuffled_backend"
"""The backend's frames in random order: the right mouth at the wrong time."""
REAL_EXPRESSION = "real_expression"
"""The real frames replace the backend's: KPBE's result with a perfect backend."""
SOURCE_POSE = "source_pose"
"""The source image replaces the pose video: KPBE's result without the true head pose."""

CONTROLS = (SOURCE_EXPRESSION, SHUFFLED_BACKEND, REAL_EXPRESSION, SOURCE_POSE)

_DISPLAY_NAMES = {
    STATIC_SOURCE: "Static source",
    "wav2lip": "Wav2Lip",
    "wav2lip_video": "Wav2Lip on video",
    "pcavs": "PC-AVS",
    "perfect": "Perfect backend",
    SOURCE_EXPRESSION: "source expression",
    SHUFFLED_BACKEND: "shuffled backend",
    REAL_EXPRESSION: "real expression",
    SOURCE_POSE: "source pose",
}


def enhanced_method(backend: str) -> str:
    """The name of the backend enhanced by KPBE."""
    return f"{backend}+kpbe"


def control_method(backend: str, control: str) -> str:
    """The name of a control (one of `CONTROLS`) of the enhanced backend."""
    return f"{enhanced_method(backend)}+{control}"


def methods_of(backend: str) -> tuple[str, str, str]:
    """The methods of a backend's table: static source, the backend, the enhanced backend."""
    return STATIC_SOURCE, backend, enhanced_method(backend)


def controls_of(backend: str) -> tuple[str, ...]:
    """The controls of a backend, in the order of the table."""
    return tuple(control_method(backend, control) for control in CONTROLS)


def is_enhanced(method: str) -> bool:
    """Whether a method is a backend enhanced by KPBE, not a control of it."""
    return method.count("+") == 1


def is_control(method: str) -> bool:
    """Whether a method is a control."""
    return method.count("+") == 2


def backend_of_method(method: str) -> str | None:
    """The backend of a method; None for `static source`."""
    return None if method == STATIC_SOURCE else method.partition("+")[0]


def comparison_name(method: str, other: str) -> str:
    """A difference's display name: "Wav2Lip+KPBE − Wav2Lip", "Wav2Lip+KPBE − its source expression"."""
    compared = display_name(other)
    if other.startswith(f"{method}+"):
        compared = f"its {_DISPLAY_NAMES[other.removeprefix(f'{method}+')]}"
    return f"{display_name(method)} − {compared}"


def display_name(method: str) -> str:
    """A method's display name: "Wav2Lip", "Wav2Lip+KPBE", "Wav2Lip+KPBE, source expression"."""
    backend, *rest = method.split("+")
    name = _DISPLAY_NAMES.get(backend, backend)
    if rest:
        name += "+KPBE"
    return f"{name}, {_DISPLAY_NAMES.get(rest[1], rest[1])}" if len(rest) == 2 else name
