"""The shape of the code, as docs and style guide promise it, read from every import by ast."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "isamap"
MODULES = sorted(PACKAGE.rglob("*.py"))

LAYERS = {
    "cli": {"core", "engine", "model", "io", "domain"},
    "core": {"engine", "model", "io", "domain"},
    "engine": set(),
    "model": {"domain"},
    "io": {"domain"},
    "domain": set(),
}
"""Which layers a layer may import besides itself; errors, config, progress, logs and digests stand below or beside all."""
FOUNDATION = {"errors": set(), "config": {"errors"}, "progress": set(), "logs": set(), "digests": set()}
SHARED_STEPS = {
    *("mapping", "map_job", "recipe", "differencing", "assembly", "composing", "grounds", "outcomes"),
    "training_run",
}
"""Core modules that recipes share; recipes never import each other."""

FENCES = {
    "click": {"cli"},
    "torch": {"model"},
    "safetensors": {"model"},
    "rasterio": {"io"},
    "rio_cogeo": {"io"},
    "zstandard": {"io"},
    "pyogrio": {"io"},
    "PIL": {"io"},
    "matplotlib": {"io"},
    "jinja2": {"io"},
    "pyarrow": {"io"},
    "fcntl": {"io"},
    "tqdm": {"progress", "logs"},
    "multiprocessing": {"engine"},
    "threading": {"engine", "io"},
    "pydantic": {"config", "model"},
    "pystac_client": {"io"},
    "requests": {"io"},
    "urllib3": {"io"},
    "urllib": {"io"},
    "http": {"io"},
    "socket": {"io"},
    "botocore": {"io"},
    "distributed": {"engine"},
    "dask": {"engine"},
    "onnx": {"model"},
}
"""Where a library may be used."""
NOWHERE = {
    *("pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib", "yaml"),
    *("httpx", "aiohttp", "fsspec", "boto3", "subprocess"),
}
"""Code that can run what it reads, and second ways to the network."""
FORBIDDEN_CALLS = {"exec", "eval", "compile", "__import__", "print", "input", "breakpoint"}
MODULE_LINES, FUNCTION_LINES, PARAMETERS = 300, 60, 7


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def part(path):
    """Layer of a module, or its own name beside the layers: `io`, `errors`, `__init__`."""
    inside = path.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def for_types_only(tree):
    """Nodes under `if TYPE_CHECKING:`."""
    return {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for statement in block.body
        for node in ast.walk(statement)
    }


def imports(path):
    """Every module that is imported, also inside functions: `isamap.io.store`, `torch.nn`."""
    tree = tree_of(path)
    exempt = for_types_only(tree)
    for node in ast.walk(tree):
        if id(node) in exempt:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def inner(path):
    """What a module imports of isamap, as dotted parts: ["io", "store", "lock"]."""
    for name in imports(path):
        first, *rest = name.split(".")
        if first == "isamap":
            yield rest


def named(path):
    return str(path.relative_to(ROOT))


def test_every_module_stands_in_a_known_place():
    assert {part(path) for path in MODULES} == {*LAYERS, *FOUNDATION, "__init__", "__main__"}


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_module_imports_only_from_layers_below(path):
    here = part(path)
    if here in FOUNDATION:
        allowed = FOUNDATION[here]
    elif here in LAYERS:
        allowed = LAYERS[here] | {here} | set(FOUNDATION) | {"__version__"}
    else:
        allowed = {"cli"}
    for rest in inner(path):
        assert rest, f"{named(path)} imports the package itself"
        assert rest[0] in allowed, f"{named(path)} ({here}) imports isamap.{'.'.join(rest)}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "core").glob("*.py")), ids=named)
def test_core_recipes_do_not_import_each_other(path):
    others = {rest[1] for rest in inner(path) if rest[0] == "core"}
    assert others <= SHARED_STEPS
    if path.stem in SHARED_STEPS:
        assert others <= {"recipe", "map_job"}  # documents, no steps


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_every_library_stays_behind_its_fence(path):
    for name in imports(path):
        library = name.split(".")[0]
        assert library not in NOWHERE, f"{named(path)} imports {name}"
        if library in FENCES:
            assert part(path) in FENCES[library], f"{named(path)} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_no_module_runs_text_or_prints(path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in FORBIDDEN_CALLS, f"{named(path)}:{node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            call = ast.unparse(node.func)
            assert call not in ("torch.load", "np.load", "os.system", "os.popen"), (
                f"{named(path)}:{node.lineno}"
            )
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"{named(path)}:{node.lineno}"


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_modules_and_functions_are_small_enough_to_read(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MODULE_LINES
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= FUNCTION_LINES, f"{named(path)}: {node.name} has {length} lines"
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            count = len([one for one in given if one.arg not in ("self", "cls")])
            assert count <= PARAMETERS, f"{named(path)}: {node.name} has {count} parameters"


@pytest.mark.parametrize("path", [path for path in MODULES if path.stem != "__main__"], ids=named)
def test_every_module_says_what_it_is_for(path):
    assert ast.get_docstring(tree_of(path)), named(path)


@pytest.mark.parametrize("path", sorted((PACKAGE / "domain").glob("*.py")), ids=named)
def test_the_domain_reads_no_file_clock_or_random_state(path):
    calls = {ast.unparse(node.func) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)}
    endings = {call.rsplit(".", 1)[-1] for call in calls}
    assert not endings & {
        "open",
        "read_text",
        "read_bytes",
        "write_text",
        "write_bytes",
        "now",
        "today",
        "default_rng",
    }
    assert not {call for call in calls if call.startswith(("time.", "random.", "np.random.", "os."))}


def test_the_command_line_loads_no_heavy_library():
    """`isamap --help` answers at once: torch and rasterio are imported inside functions."""
    for path in sorted((PACKAGE / "cli").glob("*.py")):
        for node in tree_of(path).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                text = ast.unparse(node)
                assert not any(f"isamap.{heavy}" in text for heavy in ("core", "model", "io", "domain")), text
