"""The house agrees with itself: names, entrypoints, SQL headers, documented commands."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from store.schema_doc import schema_markdown

ROOT = Path(__file__).resolve().parent.parent
PREFECT_YAML = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
FLOW_FILES = sorted(path for path in (ROOT / "flows").glob("*.py") if path.name != "__init__.py")
PYTHON_FILES = sorted(
    path
    for room in (
        "flows",
        "tasks",
        "desk",
        "reports",
        "runtime",
        "validation",
        "market",
        "models",
        "store",
        "core",
        "benchmarks",
    )
    for path in (ROOT / room).rglob("*.py")
)
ALLOWED = {
    "prefect": ("flows/", "tasks/"),
    "duckdb": ("store/",),
    "httpx": ("market/providers/",),
    "apprise": ("runtime/alerts/",),
    "onnxruntime": ("models/serving/scorer.py", "models/serving/export.py"),
}


def imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_library_is_imported_only_in_its_rooms(path: Path) -> None:
    where = str(path.relative_to(ROOT))
    if where.startswith("benchmarks/"):
        return
    strays = {name for name in imported(path) & set(ALLOWED) if not where.startswith(ALLOWED[name])}
    assert not strays, f"{where} imports {strays}"


@pytest.mark.by_file
def test_each_deployment_is_named_as_its_flow_function_and_file() -> None:
    stems = []
    for deployment in PREFECT_YAML["deployments"]:
        path, _, function = deployment["entrypoint"].partition(":")
        spec = importlib.util.spec_from_file_location(f"entry_{function}", ROOT / path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        flow = getattr(module, function)
        assert Path(path).stem == function
        assert flow.name == deployment["name"] == function.replace("_", "-")
        stems.append(Path(path).stem)
    assert sorted(stems) == [path.stem for path in FLOW_FILES]


def test_deployments_stand_in_the_order_of_the_pipeline() -> None:
    order = ["backfill", "build-features", "train-all", "train-one", "promote", "observe", "daily-report", "restart"]
    assert [deployment["name"] for deployment in PREFECT_YAML["deployments"]] == order


@pytest.mark.parametrize("path", FLOW_FILES, ids=lambda path: path.stem)
def test_flow_file_imports_only_tasks_and_the_ground_floor(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    allowed = ("prefect", "tasks", "core", "__future__", "datetime", "typing")
    assert all(module.startswith(allowed) for module in modules), modules
    assert path.stem not in sys.stdlib_module_names


def test_makefile_and_readme_name_the_same_targets() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    documented = set()
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        documented |= set(re.findall(r"\bmake ([a-z][a-z-]*)", path.read_text(encoding="utf-8")))
    known_words = {"are", "sure", "it", "the", "a", "no", "them", "an", "this", "that", "one", "up"}
    assert documented - targets <= known_words, documented - targets
    spec = {
        "demo",
        "test",
        "backfill",
        "features",
        "train",
        "transformer",
        "evaluate",
        "run-dry",
        "observe-daily",
        "sql",
        "up",
        "down",
        "bench",
        "check",
    }
    assert spec <= targets


def test_no_file_names_a_package_host_or_a_machine_path() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    hosts = ("py" + "pi.org", "python" + "hosted", "registry." + "npmjs", "/wo" + "rk/")
    for name in listed:
        path = ROOT / name
        if path.suffix in {".py", ".sql", ".md", ".toml", ".txt", ".yaml", ""} and path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            assert not [host for host in hosts if host in text], name


def test_constraints_pin_exact_versions_without_urls() -> None:
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        assert re.fullmatch(r"[a-z0-9-]+==[\w.]+|#.*|", line), line


def test_sources_leave_nothing_unfinished() -> None:
    marks = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|NotImpl" + r"ementedError)\b")
    assert [str(path) for path in PYTHON_FILES if marks.search(path.read_text(encoding="utf-8"))] == []


def test_schema_page_is_what_the_headers_say() -> None:
    page = (ROOT / "docs" / "schema.md").read_text(encoding="utf-8")
    assert page == schema_markdown(), "write it again: .venv/bin/desk schema-doc"
