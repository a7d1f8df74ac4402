"""C sources of ours, compiled for this processor where they are first needed and kept in the user's cache directory.

Threads are those of OpenMP. The library is linked with the OpenMP that torch brings where it brings one: two of them in a process
would wait for each other's idle threads.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Hashable, Iterator, MutableMapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from ddbench.errors import BadRequest

COMPILERS = ("cc", "gcc", "clang")

OPTIONS = ("-O3", "-march=native", "-fopenmp", "-fPIC")

COMPILE_LIMIT_S = 120

REALS = {torch.float32: "float", torch.float64: "double"}
"""What C calls the dtypes that sources are compiled for, as their macro `REAL`."""


def fits(images: Tensor, weight: Tensor) -> bool:
    """Return whether images are such as our C sources take: on a CPU, of a dtype of `REALS` that is the weight's, channels-last."""
    known = images.device.type == weight.device.type == "cpu" and images.dtype == weight.dtype and images.dtype in REALS
    return known and images.ndim == 4 and len(images) > 0 and images.is_contiguous(memory_format=torch.channels_last)


def layout_of(images: Tensor) -> torch.memory_format:
    """Return the layout of images: channels-last, or else the usual one."""
    return torch.channels_last if images.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format


def asked(ctx: Any, tensors: Sequence[bool]) -> list[bool]:
    """Return for each input of a function, in its backward pass, whether its gradient is asked for there and then.

    `ctx.needs_input_grad` says whether it could be. Torch's own layers leave out what nobody asks for: gradient matching asks twice
    through every layer, for weights and then for images alone.

    Args:
        ctx: The function's context.
        tensors: Which of its inputs are tensors.
    """
    nodes = iter(ctx.next_functions)
    return [is_tensor and _runs(next(nodes)[0]) and needed for needed, is_tensor in zip(ctx.needs_input_grad, tensors, strict=True)]


def _runs(node: Any) -> bool:
    """Return whether a node is part of the backward pass that is under way; of a leaf that it is for, torch raises."""
    try:
        return node is not None and bool(torch._C._will_engine_execute_node(node))  # noqa: SLF001 - torch's hooks ask so too
    except RuntimeError:
        return True


_of_frozen: MutableMapping[Tensor, tuple[Hashable, dict[Hashable, Tensor]]] = WeakTensorKeyDictionary()
"""By weight that asks for no gradient: what tells that it was moved, and what was computed of it."""


def of_weight(weight: Tensor, name: Hashable, compute: Callable[[], Tensor]) -> Tensor:
    """Return what is computed of a weight; of a frozen one it is kept until the weight is moved.

    What moves it in place through `.data` is not seen.
    """
    if weight.requires_grad or weight.is_inference():
        return compute()
    now = weight._version, weight.data_ptr(), weight.dtype  # noqa: SLF001 - torch gives the version no public name
    then, kept = _of_frozen.get(weight, (None, {}))
    if then != now:
        kept = {}
        _of_frozen[weight] = now, kept
    if name not in kept:
        with torch.inference_mode(mode=False), torch.no_grad():  # a graph may be recorded with it next time
            kept[name] = compute()
    return kept[name]


def compiler() -> str | None:
    """Return the path of a C compiler, `CC` first, or None; only on Linux, where one that knows OpenMP is what one finds."""
    if sys.platform != "linux":
        return None
    found = (shutil.which(name) for name in (os.environ.get("CC", ""), *COMPILERS) if name)
    return next((path for path in found if path), None)


@lru_cache
def library(source: Path, *options: str) -> ctypes.CDLL:
    """Return a C source as a loaded library, compiled unless it was before and can be loaded.

    Args:
        source: The file.
        options: For the compiler, beside `OPTIONS`.

    Raises:
        BadRequest: There is no compiler, it fails, or what it gives cannot be loaded.
    """
    command = compiler()
    if command is None:
        raise BadRequest("there is no C compiler here (install gcc)")
    name = f"{source.stem}-{_key(command, source, options)}.so"
    told = []
    for folder in _folders():
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(OSError):  # there is none, or it is damaged
                return ctypes.CDLL(str(folder / name))
            _compile(command, source, options, folder / name)
            return ctypes.CDLL(str(folder / name))
        except (OSError, subprocess.SubprocessError) as error:
            told.append(_reason(error))
    raise BadRequest(f"{source.name} could not be compiled ({'; '.join(dict.fromkeys(told))}); --compile off does without")


def _folders() -> Iterator[Path]:
    """Give where libraries are kept: the user's cache directory, or a folder of this process where that cannot be written."""
    yield Path(platformdirs.user_cache_dir("ddbench", appauthor=False)) / "native"
    yield Path(_own_folder().name)


@lru_cache
def _own_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder that goes with the process."""
    return tempfile.TemporaryDirectory(prefix="ddbench-native-")


def _key(command: str, source: Path, options: tuple[str, ...]) -> str:
    """Return a hash of all that decides the library: a home directory may serve machines of several kinds."""
    path = Path(command).resolve()
    sources = [source.read_bytes(), *(header.read_bytes() for header in sorted(source.parent.glob("*.h")))]
    parts = [*sources, (*OPTIONS, *options), str(path), path.stat().st_mtime_ns, _processor(), *_openmp()]
    return hashlib.sha256("\n\n".join(map(repr, parts)).encode()).hexdigest()[:20]


def _processor() -> str:
    """Return what the processor is and can do."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    kinds = ("model name", "flags", "Features", "CPU part")
    return "\n".join(dict.fromkeys(line for line in lines if line.startswith(kinds)))


def _openmp() -> list[str]:
    """Return the OpenMP library that torch brings, as what to link with; empty where it uses the system's."""
    return [str(path) for path in sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))][:1]


def _compile(command: str, source: Path, options: tuple[str, ...], target: Path) -> None:
    """Compile a source; others who do the same at the same time do not see half a file."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        part, done = Path(folder) / "part.o", Path(folder) / "done.so"
        _run(command, *OPTIONS, *options, "-c", str(source), "-o", str(part))
        _run(command, "-shared", str(part), *(_openmp() or ["-fopenmp"]), "-o", str(done))
        done.replace(target)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=COMPILE_LIMIT_S)  # noqa: S603 - no shell


def _reason(error: OSError | subprocess.SubprocessError) -> str:
    said = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
    return (said or str(error)).strip().partition("\n")[0]
