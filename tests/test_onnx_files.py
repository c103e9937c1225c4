"""ONNX files as candidates: found in their graphs, judged through their weights, and refused where they are none or do harm."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from calling import CASE
from checks import judged

for package in ("onnx", "onnxruntime", "onnxscript", "timm"):
    pytest.importorskip(package, reason=f"{package} is not installed; tox -e frameworks has it")

import onnx
from onnx import TensorProto, helper, numpy_helper

from vitbench import adapt
from vitbench.candidate import Candidate
from vitbench.errors import AdapterBroken, AdapterNotFound, VitbenchError
from vitbench.onnx_files.adapter import OnnxAdapter, OnnxFileAdapter, read
from vitbench.onnx_files.exported import ExportedAdapter, export
from vitbench.reference.parameters import exercised_weights
from vitbench.registry import resolve
from vitbench.tracing import Logits


@pytest.fixture(scope="module")
def exported() -> Any:
    """timm's ViT of the small configuration, with weights that are all different, as torch exports it."""
    return export(*_module())


def _module() -> tuple[Any, Any]:
    inner = resolve("timm")
    config = ExportedAdapter(inner).configs[0]
    model = inner.build(config).eval()
    inner.load(model, exercised_weights(config, inner.conventions, 1, torch.float32))
    return Logits(inner, model), config


@pytest.fixture
def model(exported: Any) -> Any:
    copy = onnx.ModelProto()
    copy.CopyFrom(exported)
    return copy


@pytest.fixture
def file(model: Any, tmp_path: Path) -> Path:
    path = tmp_path / "small.onnx"
    onnx.save(model, path)
    return path


# --- what is found in a file ---


def test_a_files_sizes_conventions_and_weights_are_found(file: Path) -> None:
    found = resolve(str(file))
    config = _module()[1]
    assert (found.name, found.framework, found.batch, found.configs) == ("small", "onnxruntime", None, (config,))
    assert (found.conventions.layer_norm_eps, found.conventions.activation) == (1e-6, "gelu")
    expected = exercised_weights(config, found.conventions, 1, torch.float32)
    exported = found.export(found.build(config))
    assert exported.keys() == expected.keys()
    assert all(torch.equal(exported[name], weight) for name, weight in expected.items())


def test_an_export_is_written_as_a_file_to_keep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "timm.onnx"
    assert adapt.main(["timm", "-o", str(path)]) == 0
    assert capsys.readouterr().out.startswith(f"{path}: pytest --pyargs vitbench.suites.conformance --impl ")
    found = resolve(str(path))
    assert judged("VIT-HEAD-LOGITS", Candidate(found)).status == "PASSED"
    assert found.configs == ExportedAdapter(resolve("timm")).configs[:1]


def test_what_is_no_torch_model_is_not_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numpys = Path(__file__).parents[1] / "examples" / "numpy_vit.py"
    assert adapt.main([str(numpys), "-o", str(tmp_path / "numpy.onnx")]) == 4
    assert "numpy is no torch module that could be exported" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_other_weights_are_put_where_the_file_has_its_own(file: Path) -> None:
    trial = Candidate(resolve(str(file))).trial(CASE)
    scale = trial.reference.logits.abs().max()
    assert (trial.logits() - trial.reference.logits).abs().max() < 1e-6 * scale
    assert all((trial.export()[name] - weight).abs().max() < 1e-7 for name, weight in trial.weights.items())


RIGHT = ("VIT-ATTN-SCALE", "VIT-ATTN-ROWS", "VIT-MLP-ACTIVATION", "VIT-NORM-EPSILON", "VIT-HEAD-CLASS-TOKEN")
RIGHT = (*RIGHT, "VIT-TOKEN-POSITION", "VIT-HEAD-LOGITS", "VIT-STATE-ROUND-TRIP", "VIT-NUM-FLOAT32", "VIT-PURE-BATCH")


@pytest.mark.parametrize("requirement", RIGHT)
def test_a_right_file_is_accused_of_nothing(requirement: str, exported: Any) -> None:
    assert judged(requirement, Candidate(OnnxAdapter(read(exported), "small"))).status == "PASSED"


def test_float32_inside_is_noticed_and_said(exported: Any) -> None:
    found = judged("VIT-HEAD-LOGITS", Candidate(OnnxAdapter(read(exported), "small")))
    assert "computes in float32 inside, whatever it is given; judged by float32's error" in found.reason


@pytest.mark.parametrize("requirement", ["VIT-TRAIN-GRADIENT", "VIT-PATH-GRAD", "VIT-POS-RESIZE", "VIT-NUM-BFLOAT16"])
def test_what_a_file_cannot_show_is_not_offered(requirement: str, exported: Any) -> None:
    assert judged(requirement, Candidate(OnnxAdapter(read(exported), "small"))).status == "NOT_OFFERED"


# --- defects planted in the file ---


def nodes(model: Any, kind: str) -> list[Any]:
    return [node for node in model.graph.node if node.op_type == kind]


def set_attribute(node: Any, name: str, value: Any) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def insert(model: Any, before: Any, *new: Any) -> None:
    place = [id(node) for node in model.graph.node].index(id(before))
    after = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*after[:place], *new, *after[place:]])


def other_scale(model: Any) -> None:
    softmax = nodes(model, "Softmax")[1]
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1.01), "more"))
    scaled = helper.make_node("Mul", [softmax.input[0], "more"], ["scaled"])
    insert(model, softmax, scaled)
    next(node for node in nodes(model, "Softmax") if node.input[0] == scaled.input[0]).input[0] = "scaled"


def tokens_twice(model: Any) -> None:
    (table,) = (one.name for one in model.graph.initializer if tuple(one.dims) == (1, 7, 24))
    add = next(node for node in nodes(model, "Add") if table in node.input)
    following = [node for node in model.graph.node if add.output[0] in node.input]
    twice = helper.make_node("Add", [add.output[0], add.output[0]], ["twice"])
    for node in following:
        node.input[list(node.input).index(add.output[0])] = "twice"
    insert(model, following[0], twice)


def another_token(model: Any) -> None:
    gather = nodes(model, "Gather")[-1]
    model.graph.initializer.append(numpy_helper.from_array(np.int64(1), "second"))
    gather.input[1] = "second"


PLANTED: dict[str, Callable[[Any], None]] = {
    "VIT-MLP-ACTIVATION": lambda model: set_attribute(nodes(model, "Gelu")[1], "approximate", "tanh"),
    "VIT-ATTN-ROWS": lambda model: set_attribute(nodes(model, "Softmax")[0], "axis", -2),
    "VIT-ATTN-SCALE": other_scale,
    "VIT-TOKEN-POSITION": tokens_twice,
    "VIT-HEAD-CLASS-TOKEN": another_token,
}


@pytest.mark.parametrize("requirement", PLANTED)
def test_a_defect_planted_in_a_file_is_found(requirement: str, model: Any) -> None:
    PLANTED[requirement](model)
    onnx.checker.check_model(model)
    assert judged(requirement, Candidate(OnnxAdapter(read(model), "small"))).status == "FAILED"


def test_norms_of_several_epsilons_are_refused(model: Any) -> None:
    set_attribute(nodes(model, "LayerNormalization")[2], "epsilon", 1e-5)
    with pytest.raises(AdapterBroken, match="has norms with the epsilons 1e-06, 1e-05, expected one for all"):
        read(model)


def test_an_epsilon_that_is_written_in_the_file_is_its_convention(model: Any) -> None:
    for norm in nodes(model, "LayerNormalization"):
        set_attribute(norm, "epsilon", 1e-5)
    found = OnnxAdapter(read(model), "small")
    assert found.conventions.layer_norm_eps == 1e-5
    assert judged("VIT-NORM-EPSILON", Candidate(found)).status == "PASSED"
    found.conventions = replace(found.conventions, layer_norm_eps=1e-6)
    assert judged("VIT-NORM-EPSILON", Candidate(found)).status == "FAILED"


def test_query_key_and_value_are_told_apart_by_what_becomes_of_them(model: Any) -> None:
    """Packed in another order, heads by heads, with weights that stay: other canonical weights, and the same model."""
    order = np.random.default_rng(0).permutation(8)  # of the features within each head, of query and key alike
    rows = np.concatenate([part * 24 + head * 8 + order for part in (0, 1) for head in range(3)] + [np.arange(48, 72)])
    packed = [one for one in model.graph.initializer if tuple(one.dims) in ((24, 72), (72,))]
    assert len(packed) == 4
    before = read(model).canonical({})
    for one in packed:
        one.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(one)[..., rows].copy(), one.name))
    found = read(model)
    after = found.canonical({})
    assert not np.array_equal(after["blocks.0.attention.query.weight"], before["blocks.0.attention.query.weight"])
    assert np.array_equal(after["blocks.0.attention.value.weight"], before["blocks.0.attention.value.weight"])
    assert judged("VIT-HEAD-LOGITS", Candidate(OnnxAdapter(found, "small"))).status == "PASSED"


# --- exports ---


def test_a_torch_candidate_is_judged_by_way_of_its_export() -> None:
    adapter = resolve("onnx:timm")
    assert (adapter.name, adapter.framework) == ("onnx:timm", "onnxruntime")
    assert [(config.pool, config.image_size) for config in adapter.configs] == [
        ("class_token", (12, 8)),
        ("mean", (12, 8)),
    ]
    candidate = Candidate(adapter)
    assert judged("VIT-HEAD-LOGITS", candidate).status == "PASSED"
    assert judged("VIT-HEAD-MEAN", candidate).status == "PASSED"
    assert judged("VIT-HEAD-HIDDEN", candidate).status == "NOT_OFFERED"


def test_an_export_that_is_not_the_model_that_its_adapter_declares_is_found(exported: Any) -> None:
    adapter = resolve("timm")
    adapter.conventions = type(adapter.conventions)(activation="gelu_tanh", position_resize="bicubic_antialias")
    by_way_of_onnx = ExportedAdapter(adapter)
    assert judged("VIT-MLP-ACTIVATION", Candidate(by_way_of_onnx)).status == "FAILED"


# --- files that are no such thing, or do harm ---


def saved(path: Path, model: Any) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def graph_of(*made: Any, shape: Any = (None, 3, 12, 8), weights: Any = (), inputs: int = 1) -> Any:
    images = [helper.make_tensor_value_info(f"x{i}" if i else "x", TensorProto.FLOAT, shape) for i in range(inputs)]
    answer = helper.make_tensor_value_info(made[-1].output[0], TensorProto.FLOAT, None)
    graph = helper.make_graph(list(made), "g", images, [answer], list(weights))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def weight(*shape: int, name: str = "w") -> Any:
    return numpy_helper.from_array(np.ones(shape, np.float32), name)


CONV = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[4, 4], strides=[4, 4])


def with_dims(*dims: int) -> Any:
    tensor = weight(2, 2)
    tensor.ClearField("dims")
    tensor.dims.extend(dims)
    return tensor


def outside(location: str, offset: int = 0, length: int = 16) -> Any:
    tensor = weight(2, 2)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def looping() -> Any:
    body = helper.make_graph([], "body", [], [])
    return helper.make_node("Loop", ["", ""], ["y"], body=body)


RELU = helper.make_node("Relu", ["x"], ["y"])
BAD: dict[str, tuple[Any, str]] = {
    "text": (b"this is no protobuf at all, is it", "is no ONNX file"),
    "empty": (b"", "holds no graph"),
    "no weights": (graph_of(RELU), "its first operator with weights is nothing, expected patches"),
    "a convolutional network": (graph_of(CONV, weights=[weight(8, 3, 4, 4)]), "0 class tokens and 0 tables"),
    "any image size": (graph_of(CONV, shape=(None, 3, "h", "w"), weights=[weight(8, 3, 4, 4)]), r"images of .×3×h×w"),
    "no shape": (graph_of(CONV, shape=None, weights=[weight(8, 3, 4, 4)]), "images of no shape"),
    "two inputs": (graph_of(CONV, weights=[weight(8, 3, 4, 4)], inputs=2), "takes 2 inputs, expected images alone"),
    "a bomb of dimensions": (graph_of(RELU, weights=[with_dims(2**20, 2**20)]), "claims 4398046511104 bytes for 'w'"),
    "a negative dimension": (graph_of(RELU, weights=[with_dims(-1, 4)]), "a negative dimension"),
    "fewer data than dimensions": (graph_of(RELU, weights=[with_dims(3, 3)]), "claims 36 bytes for 'w' and holds 16"),
    "external data absent": (graph_of(RELU, weights=[outside("gone.bin")]), "in 'gone.bin', which is not there"),
    "external data above": (graph_of(RELU, weights=[outside("../secret.bin")]), "outside of its folder"),
    "external data anywhere": (graph_of(RELU, weights=[outside("/etc/passwd")]), "outside of its folder"),
    "external data by a link": (graph_of(RELU, weights=[outside("link.bin")]), "outside of its folder"),
    "external data too short": (
        graph_of(RELU, weights=[outside("data.bin", offset=8)]),
        "no such part of its 16 bytes",
    ),
    "external data of a negative offset": (graph_of(RELU, weights=[outside("data.bin", -4)]), "no such part"),
    "external data without a place": (graph_of(RELU, weights=[outside("")]), "which is not there"),
    "a loop": (graph_of(looping()), "has a Loop with a graph of its own"),
    "a foreign operator": (graph_of(helper.make_node("Run", ["x"], ["y"], domain="evil")), "needs evil::Run"),
    "a bomb of a shape": (
        graph_of(
            helper.make_node("ConstantOfShape", ["s"], ["y"]),
            weights=[numpy_helper.from_array(np.array([2**20, 2**20]), "s")],
        ),
        "has a ConstantOfShape of 1099511627776 values",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_is_none_or_does_harm_is_refused_in_a_line(kind: str, tmp_path: Path) -> None:
    content, text = BAD[kind]
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(16))
    (folder / "data.bin").write_bytes(bytes(16))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    path = folder / "bad.onnx"
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    with pytest.raises(AdapterBroken, match=text) as raised:
        resolve(str(path))
    assert str(raised.value).startswith("bad.onnx ")
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == 4


def test_external_data_beside_the_file_is_read(file: Path, model: Any) -> None:
    onnx.save(model, file, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (file.parent / "weights.bin").is_file()
    assert isinstance(resolve(str(file)), OnnxFileAdapter)


def test_a_file_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(AdapterNotFound, match="there is no such file") as raised:
        resolve(str(tmp_path / "model.onnx"))
    assert isinstance(raised.value, VitbenchError)
    assert raised.value.exit_code == 4
