"""The only entry to the project's checks: `nox -l` lists them. Every session sets itself up from nothing but Python."""

from __future__ import annotations

import os
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "tests"]

HERE = Path(__file__).parent
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
    """Run whole commands in fresh processes, as a user types them."""
    install(session)
    session.run("pytest", "-m", "e2e", *session.posargs)


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
    session.run("pytest", "tests/docs", *session.posargs)
    session.run("python", "docs/site/build.py")


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
