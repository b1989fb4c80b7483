"""The order of the house: which room may import which, how long a file may be, what nobody calls."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("distill", "teachers", "students", "tools")
# From the ground up. A room imports rooms of lower floors only, so neither its neighbours nor, in circles, itself.
FLOORS = (
    {"distill.errors", "distill.console", "distill.files"},
    {"teachers", "distill.report"},
    {"students", "distill.method", "distill.data", "distill.evaluation"},
    {"distill.config", "distill"},  # the second is load_model, and the version
    {"distill.engine", "distill.inference"},
    {"distill.assembly", "distill.predict", "distill.ablation"},
    {"distill.deploy"},
    {"distill.pages"},
    {"distill.commands", "distill.cli"},
    {"distill.__main__", "tools"},
)
MAX_LINES = 400


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for name in FOLDERS for path in sorted((ROOT / name).rglob("*.py"))}


def room(module):
    """The room a module lies in: `distill.data` for `distill.data.files.reading`, `teachers` for `teachers.dpt`."""
    parts = module.split(".")
    return ".".join(parts[: 2 if parts[0] == "distill" else 1])


def floor(module):
    found = [number for number, rooms in enumerate(FLOORS) if room(module) in rooms]
    assert found, f"say on which floor {room(module)} lies"
    return found[0]


def for_types_only(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def walk(node):
    """Every node that is ever executed."""
    for child in ast.iter_child_nodes(node):
        if not for_types_only(child):
            yield child
            yield from walk(child)


def imports(tree):
    """Modules of these packages that a module imports, on top or inside a function."""
    for node in walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in FILES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.fixture(scope="module")
def trees():
    """Every module as a tree. Made for the tests alone: each process of a suite collects this file."""
    return {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}


@pytest.fixture(scope="module")
def graph(trees):
    """Which modules each module imports."""
    return {name: {other for other in imports(tree) if other in FILES} for name, tree in trees.items()}


def test_imports_point_downwards(graph):
    pairs = [(name, other) for name, others in graph.items() for other in others if room(other) != room(name)]
    assert [(name, other) for name, other in pairs if floor(other) >= floor(name)] == []


@pytest.mark.parametrize("package", ["teachers", "students"])
def test_models_know_nothing_of_the_framework(graph, package):
    known = {other for name in graph if room(name) == package for other in graph[name]}
    assert {room(other) for other in known} <= {"teachers", "students"}


def test_no_module_imports_itself_in_a_circle(graph):
    open_modules, done = [], set()

    def visit(name):
        assert name not in open_modules, " -> ".join([*open_modules, name])
        if name in done:
            return
        open_modules.append(name)
        for other in sorted(graph[name]):
            visit(other)
        done.add(open_modules.pop())

    for name in graph:
        visit(name)


def test_a_file_is_read_in_one_sitting():
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in FILES.items()}
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}


def test_every_module_says_what_it_is_for(trees):
    assert [name for name, tree in trees.items() if not ast.get_docstring(tree)] == []


def several(names):
    """Names that occur more than once, each with the places where it does."""
    places = {}
    for name, place in names:
        places.setdefault(name, []).append(place)
    return {name: where for name, where in places.items() if len(where) > 1}


def test_no_two_modules_share_a_name():
    tests = list((ROOT / "tests").rglob("test_*.py"))
    modules = [(path.stem, str(path)) for path in [*FILES.values(), *tests] if path.stem != "__init__"]
    assert several(modules) == {}


def test_no_two_classes_share_a_name(trees):
    classes = [
        (node.name, name) for name, tree in trees.items() for node in walk(tree) if isinstance(node, ast.ClassDef)
    ]
    assert several(classes) == {}


# Names that say what happened to a thing, where a name says what it is; judging is called evaluating.
OLD_WORDS = {"told", "said", "found", "given", "moment", "asker", "judge", "judged", "judging"}


def bound_names(tree):
    """Every name that a module gives to a function, class, argument or variable."""
    for node in walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def test_names_say_what_things_are(trees):
    bound = [(name, one) for name, tree in trees.items() for one in bound_names(tree)]
    assert [(name, one) for name, one in bound if OLD_WORDS & set(one.lower().split("_"))] == []


RUNS_CODE = {"yaml.load", "yaml.unsafe_load", "yaml.full_load", "pickle.load", "pickle.loads", "eval"}


def runs_code(node):
    """Whether a call opens a file in a way that runs what is in it."""
    called = ast.unparse(node.func) if isinstance(node.func, ast.Name | ast.Attribute) else ""
    options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords} if called == "torch.load" else {}
    return called in RUNS_CODE or (called == "torch.load" and options.get("weights_only") != "True")


def test_no_file_is_opened_in_a_way_that_runs_its_code(trees):
    calls = [(name, node) for name, tree in trees.items() for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert [(name, node.lineno) for name, node in calls if runs_code(node)] == []
