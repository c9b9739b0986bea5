"""The message path as machine code for the local cluster's images: those modules that images/Dockerfile compiles.

The interpreter that runs this compiles them, so it must be of the same Python as the images' base; its C compiler and
headers are the machine's.
"""

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from devcluster import base_image
from devcluster.commands import run
from devcluster.faults import PreconditionUnmet
from devcluster.image_plan import COMPILED, ImagePlan
from devcluster.settings import PROJECT, Places
from devcluster.steps import Step, run_steps

COMPILE_S = 60


def compile_path(places: Places, plans: list[ImagePlan]) -> None:
    """Compile the modules of those images that are to hold them. Raises PreconditionUnmet where that cannot be."""
    if not plans:
        return
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    if python != base_image.PYTHON:
        raise PreconditionUnmet(f"COMPILED_IMAGES: the images' Python is {base_image.PYTHON}, this one is {python}")
    before: tuple[str, ...] = ()
    steps = []
    for plan in plans:  # in sequence: one takes most of two processors
        step = Step(f"machine code of {plan.name}", partial(compile_for, places, plan), COMPILE_S, before)
        before = (step.title,)
        steps.append(step)
    run_steps(steps)


def compile_for(places: Places, plan: ImagePlan) -> None:
    """Compile the modules of one image, unless it is done."""
    said = run([sys.executable, PROJECT / "hack" / "compile.py", folder(places, plan.name), *COMPILED[plan.name]])
    if not folder(places, plan.name).exists():
        raise PreconditionUnmet(f"COMPILED_IMAGES: {said.strip()}")


def folder(places: Places, image: str) -> Path:
    """Return where the machine code of an image is."""
    return places.build / "images" / image


def read_libraries(places: Places, image: str) -> Mapping[str, bytes]:
    """Return the compiled libraries of an image (path below the packages' folder → content)."""
    top = folder(places, image)
    return {str(file.relative_to(top)): file.read_bytes() for file in sorted(top.rglob("*.so"))}
