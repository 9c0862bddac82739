"""What docs/serving.md says about ONNX: its Python, Triton's configuration, requests to servers."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from r2ad2 import GradientForestDetector
from tests.helpers.onnx import assert_equal_scores, session
from tests.helpers.pages import code_block
from tests.helpers.tables import table

pytest.importorskip("onnx", reason="ONNX is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
PAGE = "docs/serving.md"
DATATYPES = {
    "tensor(double)": "FP64",
    "tensor(float)": "FP32",
    "tensor(int64)": "INT64",
    "tensor(bool)": "BOOL",
    "tensor(string)": "BYTES",
}


@pytest.fixture(scope="module")
def documented(tmp_path_factory):
    """Train a forest on the columns of the page; return it, its table and the ONNX file."""
    X, y = table(np.random.default_rng(0))
    X = X[["amount", "count", "kind"]]
    detector = GradientForestDetector(
        n_trees=10, start_epoch=2, snapshot_interval=1, random_state=0
    ).fit(X, y)
    return detector, X, detector.export(tmp_path_factory.mktemp("onnx") / "model.onnx")


def test_documented_python(documented, monkeypatch):
    detector, X, path = documented
    monkeypatch.chdir(path.parent)
    names = {}
    exec(code_block(PAGE, "python", "import onnxruntime"), names)
    row = X.head(1).assign(amount=12.5, count=3, kind="a")
    found = {name: names[name] for name in ("score", "is_anomaly", "p_value")}
    assert_equal_scores(found, detector, row)
    exec(code_block(PAGE, "python", "def inputs_of"), names)
    opened = session(path)
    outputs = opened.run(None, names["inputs_of"](X, opened))
    assert_equal_scores(
        dict(zip(("score", "is_anomaly", "p_value"), outputs, strict=True)), detector, X
    )


def test_documented_request(documented):
    """The body has the model's inputs, and the values that it holds can be scored."""
    _, _, path = documented
    opened = session(path)
    body = json.loads(code_block(PAGE, "json", '"inputs"'))
    described = {each["name"]: each for each in body["inputs"]}
    types = {"FP64": np.float64, "INT64": np.int64, "BYTES": object}
    arrays = {}
    for each in opened.get_inputs():
        sent = described.pop(each.name)
        assert sent["datatype"] == DATATYPES[each.type]
        arrays[each.name] = np.array(sent["data"], types[sent["datatype"]]).reshape(sent["shape"])
    assert not described
    assert opened.run(["score"], arrays)[0].shape == (2,)


CHECK = """
    import json
    import sys
    import numpy as np
    import tritonclient.http
    from google.protobuf import json_format, text_format
    from tritonclient.grpc import model_config_pb2

    folder = sys.argv[1]
    text = open(f"{folder}/config.pbtxt").read()
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    written = json_format.MessageToDict(config, preserving_proto_field_name=True)
    body = json.load(open(f"{folder}/request.json"))
    inputs = []
    for each in body["inputs"]:
        types = {"FP64": np.float64, "INT64": np.int64, "BYTES": np.object_}
        made = tritonclient.http.InferInput(each["name"], each["shape"], each["datatype"])
        values = np.array(each["data"], types[each["datatype"]]).reshape(each["shape"])
        inputs.append(made.set_data_from_numpy(values, binary_data=False))
    client = tritonclient.http.InferenceServerClient
    sent, _ = client.generate_request_body(inputs)
    json.dump({"config": written, "request": json.loads(sent)}, sys.stdout)
"""


@pytest.mark.slow
def test_documented_configuration_and_request_are_those_of_tritons_client(documented, tmp_path):
    """Parsed and built by Triton's client, in an environment of its own."""
    _, _, path = documented
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True, timeout=120)
    python = environment / "bin" / "python"
    install = [python, "-I", "-m", "pip", "install", "--quiet", "tritonclient[http,grpc]"]
    done = subprocess.run(install, capture_output=True, text=True, timeout=400)
    if done.returncode:
        pytest.skip(f"tritonclient cannot be installed here: {done.stderr.strip()[-200:]}")
    (tmp_path / "config.pbtxt").write_text(code_block(PAGE, "text", "max_batch_size"))
    request = code_block(PAGE, "json", '"inputs"')
    (tmp_path / "request.json").write_text(request)
    done = subprocess.run(
        [python, "-I", "-c", textwrap.dedent(CHECK), tmp_path],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    built = json.loads(done.stdout)
    assert built["request"]["inputs"] == json.loads(request)["inputs"]
    opened = session(path)
    for kind, tensors in (("input", opened.get_inputs()), ("output", opened.get_outputs())):
        assert built["config"][kind] == [
            {
                "name": each.name,
                "data_type": f"TYPE_{DATATYPES[each.type].replace('BYTES', 'STRING')}",
                "dims": [str(-1 if size == "batch" else size) for size in each.shape],
            }
            for each in tensors
        ]
