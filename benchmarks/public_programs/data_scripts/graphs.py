"""Writes random graphs in the files that PyTorch Geometric downloads: `python graphs.py FOLDER`.

MUTAG: 188 molecules. Cora: 2,708 papers with 1,433 words, 5,278 citations.
"""

import pickle
import sys
from collections import defaultdict
from pathlib import Path

import numpy
import scipy.sparse

GRAPHS, PAPERS, WORDS, CITATIONS, CLASSES, LABELED, TESTED = 188, 2708, 1433, 5278, 7, 140, 1000
random = numpy.random.default_rng(0)


def write_molecules(place: Path) -> None:
    """Write chains of atoms with some rings."""
    place.mkdir(parents=True, exist_ok=True)
    edges, graph_of_node = [], []
    for graph in range(1, GRAPHS + 1):
        first, size = len(graph_of_node) + 1, int(random.integers(10, 28))
        graph_of_node += [graph] * size
        pairs = [(first + node, first + node + 1) for node in range(size - 1)]
        pairs += [(first + node, first + node + 5) for node in range(0, size - 5, 6)]
        edges += [edge for pair in pairs for edge in (pair, pair[::-1])]
    columns = {
        "A": [f"{source}, {target}" for source, target in edges],
        "graph_indicator": graph_of_node,
        "graph_labels": random.choice([-1, 1], GRAPHS),
        "node_labels": random.integers(0, 7, len(graph_of_node)),
        "edge_labels": random.integers(0, 4, len(edges)),
    }
    for name, values in columns.items():
        (place / f"MUTAG_{name}.txt").write_text("".join(f"{value}\n" for value in values))


def write_citations(place: Path) -> None:
    """Write papers with random words that cite random papers."""
    place.mkdir(parents=True, exist_ok=True)
    words = scipy.sparse.random(PAPERS, WORDS, 0.0127, "csr", numpy.float32, rng=random)
    words.data[:] = 1.0
    labels = numpy.eye(CLASSES, dtype=numpy.int32)[random.integers(0, CLASSES, PAPERS)]
    cited = defaultdict(list)
    for source, target in random.integers(0, PAPERS, (CITATIONS, 2)).tolist():
        cited[source].append(target)
        cited[target].append(source)
    for paper in range(PAPERS):
        cited[paper] += []
    trained = PAPERS - TESTED
    parts = {
        "x": words[:LABELED],
        "y": labels[:LABELED],
        "allx": words[:trained],
        "ally": labels[:trained],
        "tx": words[trained:],
        "ty": labels[trained:],
        "graph": cited,
    }
    for name, part in parts.items():
        (place / f"ind.cora.{name}").write_bytes(pickle.dumps(part))
    tested = "".join(f"{paper}\n" for paper in range(trained, PAPERS))
    (place / "ind.cora.test.index").write_text(tested)


folder = Path(sys.argv[1])
write_molecules(folder / "TU/MUTAG/raw")
write_citations(folder / "Planetoid/Cora/raw")
