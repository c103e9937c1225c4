"""ONNX Runtime, as a file is run where it is deployed: one session for each set of weights."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from vitbench.onnx_files.graph import Graph


def session(graph: Graph, weights: Mapping[str, NDArray[Any]], taps: Sequence[str] = ()) -> Any:
    """A session with these constants in place of the file's; ``taps`` are further values that it shows.

    In one thread, so that a process that is forked later has all that it needs.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised, too
    logging.getLogger("onnxruntime").setLevel(logging.ERROR)
    return onnxruntime.InferenceSession(
        graph.with_weights(dict(weights), list(taps)), options, providers=["CPUExecutionProvider"]
    )


def shown(graph: Graph, weights: Mapping[str, NDArray[Any]], taps: Sequence[str], images: NDArray[Any]) -> Any:
    """The values of taps for some images, by name."""
    names = list(dict.fromkeys(taps))
    found = session(graph, weights, names).run(names, {graph.inputs[0].name: images.astype(np.float32)})
    return dict(zip(names, found, strict=True))
