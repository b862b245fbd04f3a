"""Where a value of a YAML file stands: the line of each key and row, and keys that stand twice. Pure.

PyYAML takes the last of two equal keys and says nothing; in a mapping that would hide a unit or a drug.
"""

from collections.abc import Iterator

import yaml

Location = tuple[int | str, ...]


def loaded(data: bytes) -> tuple[object, yaml.Node | None]:
    """Return the plain data of a document and its tree; yaml.YAMLError when there is none."""
    loader = yaml.SafeLoader(data)
    try:
        node = loader.get_single_node()
        return (loader.construct_document(node) if node is not None else None), node
    finally:
        loader.dispose()


def line_of(node: yaml.Node | None, location: Location) -> int:
    """Return the line (from 1) of the deepest part of a location that is there."""
    line = 1
    for part in location:
        found = _child(node, part)
        if found is None:
            break
        marked, node = found
        line = marked.start_mark.line + 1
    return line


def _child(node: yaml.Node | None, part: int | str) -> tuple[yaml.Node, yaml.Node] | None:
    """Return the node whose line is meant (a key's own) and the node to go on in."""
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None


def last_line_of(node: yaml.Node) -> int:
    """Return the last line (from 1) that belongs to a node: not the comments behind it, which PyYAML counts as its own."""
    if isinstance(node, yaml.ScalarNode) or getattr(node, "flow_style", False):
        return int(node.end_mark.line) + 1
    parts = [value for _, value in node.value] if isinstance(node, yaml.MappingNode) else list(node.value)
    return max((last_line_of(part) for part in parts), default=int(node.start_mark.line) + 1)


def doubled_keys(node: yaml.Node | None) -> Iterator[tuple[int, str]]:
    """Yield line and key of each key that stands in its mapping already."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if str(key.value) in seen:
                yield key.start_mark.line + 1, str(key.value)
            seen.add(str(key.value))
            yield from doubled_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from doubled_keys(item)
