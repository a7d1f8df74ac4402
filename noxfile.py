"""The only entry to the project's checks: `nox -l` lists them. Every session sets itself up from nothing but Python."""

from __future__ import annotations

import os
import shutil
import tomllib
import zipfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "tests"]

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE / "plugins" / "ddbench-example"
CODE = ["ddbench", "plugins", "tests", "benchmarks", "docs", "noxfile.py"]


def install(session: nox.Session) -> None:
    """Install the package as a user gets it (not editable: what the wheel lacks must fail here), with the tools."""
    session.install(".[dev]")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the default tests: CPU, no network, under ten minutes on two cores."""
    install(session)
    session.run("pytest", "-m", "not slow and not e2e", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """Run the tests that take minutes: kills and resumes, timm's whole list, real images."""
    install(session)
    session.run("pytest", "-m", "slow", *session.posargs)


@nox.session
def e2e(session: nox.Session) -> None:
    """Run whole commands in fresh processes, as a user types them, and read both sites in a browser.

    A Chromium must be on PATH, or CHROMIUM name one: with DDBENCH_REQUIRE_BROWSER=1 its lack fails what is skipped without.
    """
    install(session)
    session.run("pytest", "-m", "e2e", *session.posargs, env={"DDBENCH_REQUIRE_BROWSER": "1"})


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    session.install("ruff>=0.9")
    session.run("ruff", "check", *CODE)
    session.run("ruff", "format", "--check", *CODE)


@nox.session
def types(session: nox.Session) -> None:
    """Check types, strictly."""
    install(session)
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Check what the documentation says against the code, and build its site into build/docs; warnings are errors."""
    install(session)
    session.run("pytest", "-m", "not slow and not e2e", "tests/docs", *session.posargs)
    session.run("python", "docs/site/build.py")


@nox.session(reuse_venv=False)
def example(session: nox.Session) -> None:
    """Install what was built where nothing else is, and use it as strangers would: an example plugin, new ones, the tutorial."""
    folder = Path(session.create_tmp()).resolve()
    built = {name: build(session, source, folder / name) for name, source in {"ddbench": HERE, "example": EXAMPLE}.items()}
    session.install(*(str(wheel) for wheel, _ in built.values()), "pytest>=8.3", "mypy>=1.14", "ruff>=0.9")
    session.chdir(folder)  # nothing is imported from the checkout
    session.run("pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(EXAMPLE), str(EXAMPLE / "tests"))
    session.run("mypy", "--config-file", str(EXAMPLE / "pyproject.toml"), "--cache-dir", str(folder / "mypy"))
    session.run("ddbench", "plugin", "check", "kmeans")
    store = str(folder / "store")
    session.run("ddbench", "run", "kmeans", "--offline", "--store", store, *session.posargs)
    first_projects(session, folder / "first", store)
    carry_out_the_tutorial(session, folder / "tutorial")
    session.install("--force-reinstall", "--no-deps", str(built["ddbench"][1]))  # the source distribution will do as well
    session.run("ddbench", "run", "kmeans", "--offline", "--store", store, *session.posargs)


def build(session: nox.Session, source: Path, out: Path) -> tuple[Path, Path]:
    """Return the wheel, built from the source distribution, and that; nothing that the packages hold may be missing."""
    shutil.rmtree(out, ignore_errors=True)
    session.install("build>=1.2")
    session.run("python", "-m", "build", "--outdir", str(out), str(source))
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    packages = tomllib.loads((source / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    carried = set(zipfile.ZipFile(wheel).namelist())
    for package in packages:
        root = (source / package).parent
        files = [path for path in (source / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        missing = sorted({str(path.relative_to(root)) for path in files} - carried)
        if missing:
            session.error(f"{wheel.name} lacks {', '.join(missing[:5])}")
    return wheel, sdist


def first_projects(session: nox.Session, folder: Path, store: str) -> None:
    """Begin a plugin of every kind and install it, as its author's first minutes go; run the first of them."""
    emptied(session, folder)
    kinds = session.run("python", "-c", "from ddbench.plugins import KINDS; print(*KINDS)", silent=True) or ""
    for kind in kinds.split():
        first_project(session, folder, kind)
    session.run("ddbench", "run", "first-synthesizer", "--offline", "--store", store, *session.posargs)


def first_project(session: nox.Session, folder: Path, kind: str) -> None:
    """Begin a plugin of one kind; as it lies there and as a wheel it must be found, and it must be clean."""
    name = f"first-{kind}"
    project = str(folder / f"ddbench-{name}")
    session.run("ddbench", "plugin", "new", name, "--kind", kind)
    session.install("-e", project)
    session.run("pytest", "-q", "-p", "no:cacheprovider", "--rootdir", project, project)
    session.run("ruff", "check", project)
    session.install("--force-reinstall", "--no-deps", project)
    if name not in (session.run("ddbench", "list", f"{kind}s", silent=True) or ""):
        session.error(f"the wheel of a new {kind} brings no {name}")


def carry_out_the_tutorial(session: nox.Session, folder: Path) -> None:
    """Do what docs/tutorial.md says, word for word, with nothing but what pip brought."""
    emptied(session, folder)
    session.install("pip")  # the page says `pip install`
    script = session.run("python", str(HERE / "tests" / "helpers" / "tutorial.py"), silent=True) or ""
    (folder / "tutorial.sh").write_text(script, "utf-8")
    places = {"DDBENCH_STORE": str(folder / "store"), "DDBENCH_DATA": str(folder / "data")}
    session.run("bash", "tutorial.sh", env=places, external=True)


def emptied(session: nox.Session, folder: Path) -> None:
    """Go on in a folder that is new."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    session.chdir(folder)


@nox.session
def suite(session: nox.Session) -> None:
    """Run the suite of every method on digits in a shortened form, and once more, when all of it must be in the store."""
    install(session)
    shortened = ["benchmarks/suites/digits.toml", "--smoke", "0.05", "--store", os.fspath(Path(session.create_tmp()) / "suite")]
    session.run("ddbench", "suite", "run", *shortened, *session.posargs)
    session.run("ddbench", "suite", "plan", *shortened)
    session.run("ddbench", "suite", "run", *shortened, "--exit-first")


@nox.session
def perf(session: nox.Session) -> None:
    """Measure speed and memory, and print the table."""
    install(session)
    session.run("python", "benchmarks/perf/run.py", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """Run the main job into a fresh store and write its table and picture where the README shows them."""
    install(session)
    store = Path(session.create_tmp()) / "store"
    session.run("python", "benchmarks/demo.py", "--store", os.fspath(store), *session.posargs)
