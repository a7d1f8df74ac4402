"""Pages of the public names, the hooks and the errors, from their signatures and docstrings."""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from types import ModuleType
from typing import Any

import pydantic

import ddbench
from ddbench import errors, hookspecs, kit, testing
from ddbench.errors import DdbenchError
from ddbench.plugins import KINDS
from ddbench_docs import markdown as md
from ddbench_docs.options import options_table


@dataclass(frozen=True)
class Member:
    """A field or a method of a class."""

    name: str
    doc: str


def public_page() -> str:
    """Return the page of everything that `from ddbench import …` gives."""
    told = "Generated from the code: what plugin authors import, and what notebooks call. `import ddbench` imports no torch."
    return md.blocks(["# Public names", told, *(_section(ddbench, name) for name in ddbench.__all__)])


def testing_page() -> str:
    """Return the page of the conformance kit's names."""
    told = "Generated from the code: what `ddbench.testing` gives. [How to use it](../writing-a-plugin.md#the-tests-you-inherit)."
    return md.blocks(["# The conformance kit's names", told, *(_section(testing, name) for name in testing.__all__)])


def kit_page() -> str:
    """Return the page of the building blocks' names."""
    told = "Generated from the code: what `ddbench.kit` gives. [At a glance](../writing-a-plugin.md#building-blocks)."
    return md.blocks(["# The building blocks' names", told, *(_section(kit, name) for name in kit.__all__)])


def hooks_page() -> str:
    """Return the page of hooks at a glance: signature, when each is called, who answers."""
    told = "Generated from the code. [Hooks](../hooks.md) has what each kind of thing must promise."
    hooks = sorted((hook, kind) for kind, (hook, _) in KINDS.items())
    return md.blocks(["# Every hook", told, *(_hook(hook, kind) for hook, kind in hooks)])


def errors_page() -> str:
    """Return the page of every error class: exit code, when it is raised, what to do."""
    told = """Generated from the code. A known error is one sentence on stderr: what was wrong, what was given, what is accepted,
what to do next. In Python each is a class of `ddbench.errors`; all are `DdbenchError`s.
[Exit codes](../command-line.md#exit-codes-and-errors)."""
    return md.blocks(["# Every error", told, *(_error(name, error) for name, error in known_errors())])


def known_errors() -> Iterator[tuple[str, type[DdbenchError]]]:
    """Give every error class by name, in the file's order."""
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, DdbenchError):
            yield name, value


def documented(module: ModuleType, name: str) -> str:
    """Return what a name of a module says about itself: its docstring, or the text under its assignment."""
    value = getattr(module, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        return (value.__doc__ and inspect.cleandoc(value.__doc__)) or ""
    return _text_under(name) or str(value)


def signature(function: Any) -> str:
    """Return a function's `def` line as its source has it."""
    node = _tree(function)
    return f"def {node.name}({ast.unparse(node.args)}) -> {ast.unparse(node.returns) if node.returns else 'None'}"


def _hook(hook: str, kind: str) -> str:
    function = getattr(hookspecs, hook)
    about = md.docstring(inspect.getdoc(function) or "")
    answers = f"First-party answers: [{kind}s]({kind}s.md)."
    return md.blocks([f"## {md.code(hook)}", md.fenced(signature(function), "python"), about, answers])


def _error(name: str, error: type[DdbenchError]) -> str:
    base = "" if error is DdbenchError else f", a {md.code(error.__bases__[0].__name__)}"
    about = md.docstring(inspect.cleandoc(error.__doc__ or ""))
    return md.blocks([f"## {md.code(name)}", f"Exit code {error.exit_code}{base}.", about])


def _section(module: ModuleType, name: str) -> str:
    value = getattr(module, name)
    parts = [f"## {md.code(name)}", md.docstring(documented(module, name))]
    if inspect.isfunction(value):
        parts.append(md.fenced(signature(value), "python"))
    elif inspect.isclass(value):
        parts += _class(value)
    return md.blocks(parts)


def _class(value: type) -> list[str]:
    """Return a class's stub, and what its members say; of a model, its fields with bounds."""
    node = _tree(value)
    if issubclass(value, pydantic.BaseModel) and value.model_fields:
        return [md.fenced(_head(node), "python"), options_table(_fields(value))]
    rows = [(md.code(member.name), " ".join(member.doc.split("\n\n")[0].split())) for member in _members(node) if member.doc]
    return [md.fenced(_stub(node), "python"), md.table(("member", "what"), rows)]


def _fields(model: type[pydantic.BaseModel]) -> list[dict[str, Any]]:
    from ddbench.cli.describe import options_of

    return options_of(model)  # type: ignore[arg-type] # it reads the schema, which any model has


def _stub(node: ast.ClassDef) -> str:
    """Return a class without docstrings, bodies and private members; how it begins is none."""
    body: list[str] = []
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and not ast.unparse(item.target).startswith("_"):
            body.append(ast.unparse(item))
        elif isinstance(item, ast.FunctionDef) and _public(item):
            body += [f"@{ast.unparse(decorator)}" for decorator in item.decorator_list]
            body.append(
                f"def {item.name}({ast.unparse(item.args)}) -> {ast.unparse(item.returns) if item.returns else 'None'}: ..."
            )
    return "\n".join([_head(node), *(f"    {line}" for line in body or ["..."])])


def _head(node: ast.ClassDef) -> str:
    """Return a class's decorators and its first line."""
    bases = ", ".join([*(ast.unparse(base) for base in node.bases), *(ast.unparse(keyword) for keyword in node.keywords)])
    decorators = [f"@{ast.unparse(decorator)}" for decorator in node.decorator_list]
    return "\n".join([*decorators, f"class {node.name}({bases}):" if bases else f"class {node.name}:"])


def _members(node: ast.ClassDef) -> Iterator[Member]:
    """Give a class's public fields and methods with their docstrings, or the text under a field."""
    for item, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(item, ast.AnnAssign):
            under = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and str(after.value.value)
            yield Member(ast.unparse(item.target), inspect.cleandoc(under) if under else "")
        elif isinstance(item, ast.FunctionDef) and _public(item):
            yield Member(item.name, ast.get_docstring(item) or "")


def _public(function: ast.FunctionDef) -> bool:
    """Return whether users call it: by its name, or by that of its class."""
    return function.name == "__init__" or not function.name.startswith("_")


def _tree(thing: Any) -> Any:
    return ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(thing)))).body[0]


def _text_under(name: str) -> str:
    """Return the text under a name's assignment, in the module that ddbench has the name from."""
    imports = [node for node in ast.parse(inspect.getsource(ddbench)).body if isinstance(node, ast.ImportFrom)]
    origin = next((node.module for node in imports if name in {alias.name for alias in node.names}), None)
    body = ast.parse(inspect.getsource(importlib.import_module(origin) if origin else ddbench)).body
    for item, after in pairwise(body):
        if name in _targets(item) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            return inspect.cleandoc(str(after.value.value))
    return ""


def _targets(item: ast.stmt) -> set[str]:
    """Return the names that a statement assigns to."""
    if isinstance(item, ast.Assign):
        return {ast.unparse(target) for target in item.targets}
    return {ast.unparse(item.target)} if isinstance(item, ast.AnnAssign) else set()
