"""State of the process: one Runtime owns it, apart from exceptions with a reason."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = {
    ".".join(path.relative_to(ROOT / "jp2batch").with_suffix("").parts): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "jp2batch").rglob("*.py"))
}
OWNER = "core.runtime"

PURE = "a pure function: a fork or another test may keep its results, and its cache has no lock"
ONE_LIBRARY = "a process has one OpenJPEG library, which a child of a fork inherits"
EXCEPTIONS = {
    "array.cf": {"cache _crs_attributes": PURE},
    "image.geo_boxes": {"cache _look_up": PURE},
    "image.openjpeg": {
        "cache library": ONE_LIBRARY,
        "assignment to ctypes.util.find_library": "glymur has no other way to be given a library; a fork waits for it",
    },
    "image.openjpeg_callbacks": {"cache _declare_streams": ONE_LIBRARY},
    "jpeg2000.geometry.precinct_grids": {"cache _component_precincts": PURE, "cache precinct_axis": PURE},
    "jpeg2000.geometry.packet_choice": {"cache _chosen": PURE, "cache places_in": PURE},
    "jpeg2000.geometry.progression": {
        "cache _order_by_counts": PURE,
        "cache _order_by_position": PURE,
        "cache _order_with_changes": PURE,
    },
    "jpeg2000.geometry.code_blocks": {"cache blocks_of_precincts": PURE},
    "jpeg2000.locate.parsed_packet": {"cache _first_layer": PURE},
    "jpeg2000.syntax.tag_trees": {"cache tag_tree_shape": PURE},
    "jpeg2000.plan.packet_data": {"cache _empty_packets": PURE},
    "sentinel2.metadata": {"cache parse_metadata": PURE},
    "core.giving_up": {"ContextVar": "a check belongs to a thread or a task; a child of a fork keeps to it"},
    "storage.callers": {"ContextVar": "a caller belongs to a thread; a child of a fork keeps to it"},
    "storage.deadline": {"ContextVar": "a deadline belongs to a thread or a task; a child of a fork keeps to it"},
}

LOCKS = {"Lock", "RLock", "Condition", "Event", "Semaphore", "BoundedSemaphore", "Barrier", "local", "ContextVar"}
REFERENCES = {"WeakValueDictionary", "WeakKeyDictionary", "WeakSet"}
CONTAINERS = {"dict", "list", "set", "defaultdict", "OrderedDict", "Counter", "deque", "bytearray"}
CACHES = {"cache", "lru_cache"}
LITERALS = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)
CHANGES = {"add", "append", "appendleft", "clear", "discard", "extend", "insert", "move_to_end", "pop", "popitem"} | {
    "popleft",
    "remove",
    "setdefault",
    "sort",
    "update",
}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def last_name(node: ast.AST) -> str:
    """Return the last part of a dotted name, or of the name of what is called."""
    if isinstance(node, ast.Call | ast.Subscript):
        return last_name(node.func if isinstance(node, ast.Call) else node.value)
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def outside_functions(tree: ast.AST) -> Iterator[ast.AST]:
    """Iterate over what runs at import: all nodes but the bodies of functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, FUNCTIONS):
            continue
        yield node
        yield from outside_functions(node)


def bound(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Iterate over (name, value) of the assignments at import."""
    for node in outside_functions(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((target.id, node.value) for target in targets if isinstance(target, ast.Name))


def is_frozen(node: ast.ClassDef) -> bool:
    """Return whether instances of a class are values, as far as its definition says."""
    frozen = any("frozen=True" in ast.unparse(decorator) for decorator in node.decorator_list)
    return frozen or any(last_name(base) in ("NamedTuple", "Enum", "IntEnum") for base in node.bases)


VARIABLE = {
    node.name
    for tree in MODULES.values()
    for node in ast.walk(tree)
    if isinstance(node, ast.ClassDef) and not is_frozen(node)
}
"""The classes of the package whose instances may change."""


def changed(tree: ast.AST, inside: frozenset[str] | None = None) -> Iterator[str]:
    """Iterate over the names that functions change the content of, without those that they bind themselves."""
    for node in ast.iter_child_nodes(tree):
        names = inside
        if isinstance(node, FUNCTIONS):
            own = {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
            names = (names or frozenset()) | own | {one.arg for one in ast.walk(node.args) if isinstance(one, ast.arg)}
        target = None
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            target = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGES:
            target = node.func.value
        elif isinstance(node, ast.AugAssign):
            target = node.target
        if isinstance(target, ast.Name | ast.Attribute) and names is not None and last_name(target) not in names:
            yield last_name(target)
        yield from changed(node, names)


def assigned_elsewhere(tree: ast.AST) -> Iterator[str]:
    """Iterate over the attributes of modules and classes that a tree assigns."""
    modules = {
        (alias.asname or alias.name).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
            root = ast.unparse(node.value).partition(".")[0]
            if root in modules or (root[:1].isupper() and root.isidentifier()) or root in ("cls", "type(self)"):
                yield ast.unparse(node)


def state(tree: ast.AST) -> Iterator[str]:
    """Iterate over the state of the process that a module holds itself."""
    yield from (found for node in ast.walk(tree) for found in state_anywhere(node))
    for node in outside_functions(tree):
        if isinstance(node, ast.Call) and last_name(node) in LOCKS | REFERENCES:
            yield last_name(node)
    changes = set(changed(tree))
    for name, value in bound(tree):
        if isinstance(value, ast.Call) and last_name(value) in VARIABLE | CACHES:
            yield f"{name} = {last_name(value)}(…)"
        if is_container(value) and name in changes:
            yield f"{name} is changed"
    yield from (f"assignment to {name}" for name in assigned_elsewhere(tree))


def state_anywhere(node: ast.AST) -> Iterator[str]:
    """Iterate over the state that a node makes, inside a function or not."""
    if isinstance(node, ast.Global):
        yield f"global {', '.join(node.names)}"
    elif last_name(node) in ("register_at_fork", "cached_property"):  # the lock of Python 3.11's is one for all objects
        yield last_name(node)
    elif isinstance(node, ast.FunctionDef):
        yield from (f"cache {node.name}" for one in node.decorator_list if last_name(one) in CACHES)


def is_container(value: ast.expr) -> bool:
    return isinstance(value, LITERALS) or (isinstance(value, ast.Call) and last_name(value) in CONTAINERS)


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {OWNER}))
def test_no_module_but_the_runtime_holds_state_of_the_process(module):
    assert set(state(MODULES[module])) == set(EXCEPTIONS.get(module, {}))


def test_the_runtime_holds_it():
    assert {"RLock", "register_at_fork", "assignment to Runtime.current"} <= set(state(MODULES[OWNER]))


def test_no_module_changes_a_container_of_another():
    containers = {name for tree in MODULES.values() for name, value in bound(tree) if isinstance(value, LITERALS)}
    for module, tree in MODULES.items():
        assert containers.isdisjoint(set(changed(tree)) - {name for name, _ in bound(tree)} - {"headers"}), module


@pytest.mark.parametrize(
    "code",
    [
        "import threading\n_lock = threading.Lock()",
        "from threading import RLock\nclass A:\n    lock = RLock()",
        "_cache = {}\ndef get(key):\n    return _cache.setdefault(key, 1)",
        "_cache: dict[str, int] = {}\ndef put(key):\n    _cache[key] = 1",
        "_seen = set()\ndef see(key):\n    _seen.add(key)",
        "_all = []\ndef see(key):\n    def inner(key):\n        _all.append(key)\n    inner(key)",
        "_count = Counter()\ndef see(key):\n    _count[key] += 1",
        "class A:\n    seen = []\n    def see(self, key):\n        self.seen.append(key)",
        "_value = None\ndef put(value):\n    global _value\n    _value = value",
        "from functools import lru_cache\n@lru_cache(maxsize=4)\ndef f(): ...",
        "import functools\n@functools.cache\ndef f(): ...",
        "import functools\ndef g(): ...\nf = functools.cache(g)",
        "from functools import cached_property\nclass A:\n    @cached_property\n    def f(self): ...",
        "from contextvars import ContextVar\n_end = ContextVar('end')",
        "_memory = LatencyEstimator()",
        "import os\nos.register_at_fork(before=print)",
        "class A: ...\ndef f():\n    A.value = 1",
        "import ctypes.util\ndef f():\n    ctypes.util.find_library = None",
    ],
)
def test_state_is_found(code):
    assert list(state(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "_NAMES = {1: 'one'}\ndef f(key):\n    return _NAMES.get(key)",
        "_NAMES = {}\ndef f():\n    _NAMES = {}\n    _NAMES[1] = 2",
        "class A:\n    def __init__(self):\n        self._lock = threading.Lock()\n        self.seen = []",
        "DEFAULT = Coding()",
        "def f():\n    seen = set()\n    seen.add(1)",
        "_NAMES = {1: 'one'}\n_NAMES.update({2: 'two'})",
    ],
)
def test_values_and_objects_are_no_state(code):
    assert list(state(ast.parse(code))) == []
