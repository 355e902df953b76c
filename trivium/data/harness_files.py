"""Task files of lm-evaluation-harness as they lie on disk: their YAML, what it includes, and the documents it names.

Only what is declared is read. A file that calls for code (``!function``, ``class``, a data script) is refused with the
line that does; nothing is imported, run or fetched.
"""

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from trivium.core.errors import did_you_mean
from trivium.core.optional import require

Document = dict[str, Any]
Config = dict[str, Any]

PLAIN = "tag:yaml.org,2002:"
CODE = {
    "class": "a task written in Python",
    "custom_dataset": "a data set made by a function",
    "process_docs": "a function over the documents",
    "process_results": "a function that scores",
    "unsafe_code": "leave to run what the model writes",
    "use_prompt": "a template of another package",
    "doc_to_image": "pictures",
    "doc_to_audio": "sounds",
}
"""Keys that declare nothing which text alone could answer, and what they stand for."""
INSTEAD = {
    "doc_to_text": "write a Jinja template over the document's fields, such as 'Question: {{question}}'",
    "doc_to_target": "write a field's name, a number, or a Jinja template",
    "doc_to_choice": "write a field's name, a list, or a Jinja template that makes one",
    "process_docs": "change the documents beforehand and give the new file as data",
    "custom_dataset": "write the documents to a file and give it as data",
    "metric": "name one of the metrics that are built in",
    "aggregation": "leave it out for the metric's own",
    "function": "name one of regex, take_first, remove_whitespace, lowercase",
    "samples": "list the examples in the file itself",
}
LEAF = "declare the task by templates, or score the model's answers with a method of your own"


def load(path: str | Path) -> Config:
    """One file with what it includes, its own keys winning. Raises ValueError for code, a circle, or no mapping."""
    return _load(Path(path), ())


def _load(path: Path, above: tuple[Path, ...]) -> Config:
    path = path.resolve()
    if path in above:
        raise ValueError(f"{above[-1]} includes {path.name}, which includes it in turn; break the circle")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        by = f", which {above[-1]} includes," if above else ""
        raise FileNotFoundError(f"{path}{by} cannot be read: {error.strerror}") from None
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        if tree is not None:
            _refuse_code(tree, path)
        own = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(own, dict):
        raise ValueError(f"{path} holds {type(own).__name__} where a task is a mapping of keys to values")
    included = own.pop("include", [])
    merged: Config = {}
    for one in included if isinstance(included, list) else [included]:
        found = _load(path.parent / str(one), (*above, path))
        found.pop("task_list", None)
        merged.update(found)
    return {**merged, **own}


def _refuse_code(tree: yaml.Node, path: Path) -> None:
    """Raise ValueError at the first value that is not plain data."""
    waiting: list[tuple[str, yaml.Node]] = [("", tree)]
    seen: set[int] = set()
    while waiting:
        key, node = waiting.pop()
        if id(node) in seen:  # an anchor, which may even hold itself
            continue
        seen.add(id(node))
        line = node.start_mark.line + 1
        if not node.tag.startswith(PLAIN) or node.tag.startswith(f"{PLAIN}python"):
            what = f"{node.tag} {node.value}" if isinstance(node, yaml.ScalarNode) else node.tag
            raise ValueError(
                f"{path}, line {line}: {key or 'the file'} is code ({what}), and no code of a task file is run; "
                f"{INSTEAD.get(key, LEAF)}"
            )
        if isinstance(node, yaml.MappingNode):
            for name, value in reversed(node.value):
                said = name.value if isinstance(name, yaml.ScalarNode) else ""
                inert = isinstance(value, yaml.ScalarNode) and value.value.lower() in ("", "false", "null", "~")
                if said in CODE and value.tag.startswith(PLAIN) and not inert:
                    raise ValueError(
                        f"{path}, line {name.start_mark.line + 1}: {said} asks for {CODE[said]}, which a task file "
                        f"cannot have here; {INSTEAD.get(said, LEAF)}"
                    )
                waiting.append((said, value))
        elif isinstance(node, yaml.SequenceNode):
            waiting += [(key, value) for value in reversed(node.value)]


def find(path: str | Path, name: str = "") -> list[tuple[Config, Path]]:
    """The tasks of a file or folder that a name stands for: a task, all of a tag, or the members of a group, each with
    the folder that its paths are relative to. A file of one task needs no name.

    Raises ValueError for a name that is not there, FileNotFoundError where there is no file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there; give a task's YAML file or a folder of them")
    if path.is_file():
        whole = load(path)
        if not name or name in (whole.get("task"), whole.get("group")):
            if "group" not in whole and isinstance(whole.get("task"), str):
                return [(whole, path.parent)]
            name = name or str(whole.get("group", ""))
        path = path.parent
    known = _index(path)
    if not name:
        raise ValueError(f"{path} holds several tasks; name one with task{did_you_mean('', known)}")
    return list(_members(name, known, {}, ()))


def _index(folder: Path) -> dict[str, Path]:
    """Name of every task and group below a folder -> its file; of tags too, as ``tag:NAME``. Files are told by their
    keys alone, so that one with code is refused only where it is asked for."""
    known: dict[str, Path] = {}
    for file in sorted((*folder.glob("**/*.yaml"), *folder.glob("**/*.yml"))):
        name = _name_of(file)
        if name:
            known.setdefault(name, file)
    return known


@cache
def _name_of(file: Path) -> str:
    """What a file declares, "" where it is only there to be included."""
    try:
        tree = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return ""
    if not isinstance(tree, yaml.MappingNode):
        return ""
    said = {key.value: value.value for key, value in tree.value if isinstance(value, yaml.ScalarNode)}
    return said.get("group") or said.get("task") or ""


def _members(
    name: str, known: Mapping[str, Path], changed: Config, above: tuple[str, ...]
) -> Iterator[tuple[Config, Path]]:
    """What a name stands for, with the keys that groups above it change."""
    if name in above:
        raise ValueError(f"the group {name} is a member of itself, by {' of '.join(reversed(above))}; break the circle")
    if name not in known:
        tagged = [file for file in dict.fromkeys(known.values()) if name in _tags(file)]
        if not tagged:
            raise ValueError(f"no task, group or tag is called {name!r}{did_you_mean(name, known)}")
        for file in tagged:
            yield {**load(file), **changed}, file.parent
        return
    file = known[name]
    whole = load(file)
    if "group" in whole:
        yield from _of_group(whole, file, known, changed, (*above, name))
    else:
        yield {**whole, **changed, "task": whole["task"]}, file.parent


GROUP_KEYS = ("group", "group_alias", "task", "aggregate_metric_list", "metadata", "tag", "version")


def _of_group(
    group: Config, file: Path, known: Mapping[str, Path], changed: Config, above: tuple[str, ...]
) -> Iterator[tuple[Config, Path]]:
    changed = {**{key: value for key, value in group.items() if key not in GROUP_KEYS}, **changed}
    members = group.get("task") or []
    for member in [members] if isinstance(members, str) else members:
        if isinstance(member, str):
            yield from _members(member, known, changed, above)
        elif isinstance(member, dict) and "group" in member and member["group"] not in known:
            yield from _of_group(member, file, known, changed, above)
        elif isinstance(member, dict) and ("task" in member or "group" in member):
            name = member.get("group") or member["task"]
            own = {key: value for key, value in member.items() if key not in ("task", "group")}
            if name in known:
                yield from _members(name, known, {**changed, **own}, above)
            else:
                yield {**changed, **own, "task": f"{group['group']}::{name}"}, file.parent
        else:
            raise ValueError(
                f"{file}: a member of group {group['group']} is a task's name or a mapping, got {member!r}"
            )


def _tags(file: Path) -> list[str]:
    try:
        tags = load(file).get("tag") or []
    except (ValueError, FileNotFoundError):
        return []
    return [tags] if isinstance(tags, str) else list(tags)


# Documents ------------------------------------------------------------------------------------------------------------

FORMATS = ("jsonl", "jsonl.gz", "json", "json.gz", "parquet")


def documents(config: Config, folder: Path, data: str = "") -> dict[str, list[Document]]:
    """Split -> the documents of a task: from ``data`` where it is given, a file or a folder with a file for each split,
    else from the local files that the task names. Raises ValueError for a data set that would have to be fetched."""
    task = config.get("task")
    if data:
        return {split: _read(paths) for split, paths in _given(Path(data), config).items()}
    source, kwargs = config.get("dataset_path"), dict(config.get("dataset_kwargs") or {})
    if source is None:
        raise ValueError(f"task {task} names no data (dataset_path); give a file or folder as data")
    if kwargs.pop("trust_remote_code", False):
        raise ValueError(f"task {task} wants code of its data set to be run; download the data and give it as data")
    files = kwargs.pop("data_files", None)
    place = kwargs.pop("data_dir", None)
    if kwargs:
        raise ValueError(f"task {task}: dataset_kwargs has {', '.join(kwargs)}; only data_files and data_dir are known")
    if files is None:
        local = next((found for found in _places(str(place or source), folder) if found.is_dir()), None)
        if local is None:
            raise ValueError(
                f"task {task} takes its data from the hub, {source!r}; download it and give `data`, a file or a folder "
                f"with one file per split ({', '.join(sorted(_splits(config)) or ['test'])})"
            )
        return {split: _read(paths) for split, paths in _given(local, config).items()}
    if source not in ("json", "parquet"):
        raise ValueError(f"task {task}: files are read as 'json' or 'parquet', got dataset_path {source!r}")
    by_split = files if isinstance(files, Mapping) else {"train": files}
    return {
        str(split): _read([_there(str(one), folder, task) for one in ([named] if isinstance(named, str) else named)])
        for split, named in by_split.items()
    }


def _splits(config: Config) -> set[str]:
    names = [config.get(f"{word}_split") for word in ("training", "validation", "test", "fewshot")]
    names.append((config.get("fewshot_config") or {}).get("split"))
    return {str(name) for name in names if name}


def _given(place: Path, config: Config) -> dict[str, list[Path]]:
    wanted = _splits(config) or {"test"}
    if place.is_file():
        return {split: [place] for split in wanted}
    if not place.is_dir():
        raise FileNotFoundError(f"data {place} is not there; give a file, or a folder with one file per split")
    found: dict[str, list[Path]] = {}
    for split in sorted(wanted):
        here = sorted(file for end in FORMATS for file in place.glob(f"{split}*.{end}"))
        exact = [file for file in here if file.name.split(".")[0] == split]
        if here:
            found[split] = exact[:1] or here  # parts of one split are named test-00000-of-00002
    if not found:
        names = ", ".join(f"{split}.jsonl" for split in sorted(wanted))
        raise FileNotFoundError(f"{place} has no file of the task's splits, such as {names}")
    return found  # a split that is not there is missed by whoever asks for it


def _places(name: str, folder: Path) -> Sequence[Path]:
    return (folder / name, Path(name))


def _there(name: str, folder: Path, task: object) -> Path:
    if "://" in name:
        raise ValueError(f"task {task} takes its data from {name}; download it and give `data`")
    for found in _places(name, folder):
        if found.is_file():
            return found
    raise FileNotFoundError(f"task {task}: there is no file {name} beside the task's or in the current folder")


def _read(paths: Sequence[Path]) -> list[Document]:
    rows = [row for path in paths for row in _rows(path)]
    if not rows:
        raise ValueError(f"{', '.join(map(str, paths))} holds no document")
    return rows


def _rows(path: Path) -> list[Document]:
    if path.suffix == ".parquet":
        parquet: Any = require("pyarrow.parquet", extra="harness", why="to read parquet files")
        return parquet.read_table(path).to_pylist()
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    text = data.decode("utf-8")
    if text.lstrip().startswith("["):
        rows = json.loads(text)
        if not all(isinstance(row, dict) for row in rows):
            raise ValueError(f"{path} is a list with entries that are no documents, which are mappings")
        return rows
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}, line {number} is no JSON: {error}") from None
            if not isinstance(row, dict):
                raise ValueError(f"{path}, line {number} is no document, which is a mapping of fields")
            rows.append(row)
    return rows
