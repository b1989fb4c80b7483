"""YAML as a configuration means it: names, numbers, true and false, mappings and lists. What surprises is refused."""

from __future__ import annotations

import re
from collections.abc import Hashable

import yaml

MOST_NODES = 100_000  # of one text, counting what its aliases repeat
# What YAML 1.2 takes for more than a name, in the order of trial. YAML 1.1, which the library reads by itself, takes
# `no` for false, 010 for 8, 1:30 for 90 and 1e-3 for a name.
WORDS = {
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?(0|[1-9][0-9]*)",
    "float": r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.inf|\.nan",
    "null": r"~|null|Null|NULL|",
    "merge": r"<<",
}
NO_TEXT = re.compile("[\\x00-\\x08\\x0e-\\x1f\\x7f\\ud800-\\udfff]")  # no path and no name holds one
TEXT = "tag:yaml.org,2002:str"


class PlainLoader(yaml.SafeLoader):
    """Reads words as above, and refuses a tag, and a key that stands twice or is no word."""

    def fetch_tag(self) -> None:
        problem = "a value that begins with '!' would be a tag, which no configuration needs; put it into quotes"
        raise yaml.scanner.ScannerError(None, None, problem, self.get_mark())

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> str:
        text = str(super().construct_scalar(node))
        if NO_TEXT.search(text):
            problem = f"{text!r} holds a character that is no text; remove it"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return text

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        known = set[str]()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                problem = "a key must be a word, got a list or a mapping; was a template left unfilled?"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            if key.value in known:
                problem = f"{key.value!r} stands there twice; delete one of the two, or name it otherwise"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            known.add(key.value)
            key.tag = key.tag if key.value == "<<" else TEXT  # a row of an ablation may be called 2, or no
        return super().construct_mapping(node, deep)


PlainLoader.yaml_implicit_resolvers = {
    None: [(f"tag:yaml.org,2002:{kind}", re.compile(f"(?:{form})$")) for kind, form in WORDS.items()]
}


def parse_yaml(text: str | bytes) -> object:
    """The value that a text stands for.

    Raises:
        ValueError: If it is no YAML, of several documents, of more nodes than any configuration, or nested so deeply
            that nothing could read it; in one line.
    """
    try:
        loader = PlainLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if count_nodes(node, {}) > MOST_NODES:
            raise ValueError(f"its aliases repeat more than {MOST_NODES} values, or themselves; write them out")
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        raise ValueError(explain_error(error)) from error
    except yaml.YAMLError as error:  # of characters
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError:
        raise ValueError("it is nested too deeply; a configuration has three levels") from None


def explain_error(error: yaml.MarkedYAMLError) -> str:
    """What is wrong, and where."""
    mark = error.problem_mark or error.context_mark
    where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
    hint = "; indent with spaces" if "'\\t'" in str(error.problem) else ""
    return ", ".join(filter(None, (error.context, error.problem))) + hint + where


def count_nodes(node: yaml.Node, known: dict[int, float]) -> float:
    """Nodes from here down, those behind an alias each time it is used; infinite where one leads back to itself."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = float("inf")
        inner = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + sum(count_nodes(part, known) for part in inner)
    return known[id(node)]
