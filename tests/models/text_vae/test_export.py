"""The encoder as a program of `torch.export`: equal outputs at other shapes, nothing in the file that could run code."""

import io
import json
import zipfile

import pytest
import torch

from hf_lvm.models.text_vae.export import export_encoder, load_encoder
from hf_lvm.models.text_vae.exported_archive import DESCRIPTION, check_archive
from tests.tiny_parts import batch_of, perturb, random_rows, tiny_classes, tiny_vae

PROGRAM, WEIGHTS = "models/model.json", "data/weights/model_weights_config.json"
FAMILIES = [
    "bert",
    "roberta",
    "albert",
    "electra",
    "mpnet",
    "deberta-v2",
    "modernbert",
    "t5",
    "bart",
    "gpt2",
    "llama",
    "qwen3",
]
FAMILIES.append("hf_lvm_bag_of_words_encoder")
SHAPES = [(1, "right", 0), (5, "left", 2), (2, "right", 4), (9, "left", 0)]


def assert_equal_at_other_shapes(model, encoder):
    for count, side, extra in SHAPES:
        batch = batch_of(random_rows(count, seed=count), side, extra)
        inputs = batch["input_ids"], batch["attention_mask"]
        expected, found = model.encode(*inputs), encoder.encode(*inputs)
        for name in ("mean", "stddev"):
            torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-5, atol=1e-5)
    assert found.mean.std(0).min() > 1e-3, "the texts must differ"


@pytest.fixture(scope="module")
def model():
    return perturb(tiny_vae("distilbert", "gpt2"), 0.2)


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    return export_encoder(model.train(), tmp_path_factory.mktemp("exported") / "new" / "encoder.pt2")


def test_batch_and_length_are_open(model, path):
    assert model.training and model.encoder.training, "the model is left as it was"
    encoder = load_encoder(path)
    assert_equal_at_other_shapes(model.eval(), encoder)
    one = torch.tensor([[5]])
    torch.testing.assert_close(encoder.encode(one).mean, model.encode(one).mean, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="33 tokens is longer than the 32 that this encoder reads"):
        encoder.encode(torch.ones(1, 33, dtype=torch.long))
    weights = sum(tensor.numel() for name, tensor in encoder.program.state_dict.items())
    own = sum(value.numel() for name, value in model.named_parameters() if name.split(".")[0] in model.posterior_parts)
    assert weights == own, "a program of the encoder holds no decoder"


def test_an_lstm_reads_texts_up_to_its_length(tmp_path):
    model = perturb(tiny_vae("hf_lvm_lstm_encoder", "gpt2", posterior_type="delta", pooling="last"), 0.2)
    with pytest.raises(ValueError, match="'hf_lvm_lstm_encoder' encoder is exported step by step.*pass length"):
        export_encoder(model, tmp_path / "encoder.pt2")
    encoder = load_encoder(export_encoder(model, tmp_path / "encoder.pt2", length=12))
    assert_equal_at_other_shapes(model, encoder)
    with pytest.raises(ValueError, match="13 tokens is longer than the 12"):
        encoder.encode(torch.ones(1, 13, dtype=torch.long))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_families(family, tmp_path):
    model = perturb(tiny_vae(family, "gpt2"), 0.2)
    assert_equal_at_other_shapes(model, load_encoder(export_encoder(model, tmp_path / "encoder.pt2")))


# ---- only plain numbers and a program --------------------------------------------------------------------------------


def changed(path, target, replaced: dict):
    """A copy of an archive in which some files have another content; `replaced` maps a name to it or to a function."""
    with zipfile.ZipFile(path) as archive:
        folder = archive.namelist()[0].split("/")[0]
        files = {name.removeprefix(f"{folder}/"): archive.read(name) for name in archive.namelist()}
    for name, new in replaced.items():
        files[name] = new(files[name]) if callable(new) else new
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"{folder}/{name}", content)
    return target


def pickled() -> bytes:
    buffer = io.BytesIO()
    torch.save(torch.zeros(1), buffer)
    return buffer.getvalue()


def marked_as_pickled(content: bytes) -> str:
    config = json.loads(content)
    next(iter(config["config"].values()))["use_pickle"] = True
    return json.dumps(config)


def other_formula(formula: str):
    def change(content: bytes) -> str:
        text = content.decode()
        assert "Pow(Symbol(" in text
        return text.replace(json.dumps("Pow(Symbol('s53', positive=True, integer=True), Integer(2))"), json.dumps(formula))

    return change


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({WEIGHTS: marked_as_pickled}, "objects that can run code"),
        ({"data/sample_inputs/model.pt": pickled()}, r"objects that can run code \(data/sample_inputs/model.pt\)"),
        ({"data/constants/model.pt": pickled()}, r"objects that can run code \(data/constants/model.pt\)"),
        ({"serialized_state_dict.pt": pickled()}, "objects that can run code"),
        ({PROGRAM: other_formula("exec(chr(49))")}, "in the place of a size"),
        ({PROGRAM: other_formula("Symbol('s53').__class__")}, "in the place of a size"),
        ({f"extra/{DESCRIPTION}.other": "{}"}, "objects that can run code"),
    ],
)
def test_what_could_run_code_is_refused(path, tmp_path, replaced, message):
    with pytest.raises(ValueError, match=message):
        load_encoder(changed(path, tmp_path / "encoder.pt2", replaced))


def test_an_archive_as_it_was_written_passes(path, tmp_path):
    check_archive(changed(path, tmp_path / "encoder.pt2", {}))
    with zipfile.ZipFile(path) as archive:
        assert not [info.filename for info in archive.infolist() if info.filename.endswith(".pt") and info.file_size]


def test_refusals(path, tmp_path, model):
    with pytest.raises(FileNotFoundError, match="export_encoder writes one"):
        load_encoder(tmp_path / "none.pt2")
    (tmp_path / "text.pt2").write_text("no archive")
    with pytest.raises(ValueError, match="no archive of torch.export"):
        load_encoder(tmp_path / "text.pt2")
    with zipfile.ZipFile(tmp_path / "other.pt2", "w") as archive:
        archive.writestr("x/models/model.json", "{}")
    with pytest.raises(ValueError, match="not written by export_encoder"):
        load_encoder(tmp_path / "other.pt2")
    with pytest.raises(ValueError, match=r"ends in \.pt2"):
        export_encoder(model, tmp_path / "encoder.onnx")
    with pytest.raises(ValueError, match="at least 1, and at most 32"):
        export_encoder(model, tmp_path / "encoder.pt2", length=33)
    sphere = tiny_vae(posterior_type="von_mises_fisher", prior_type="uniform_sphere")
    with pytest.raises(ValueError, match="posterior_type 'von_mises_fisher'"):
        export_encoder(sphere, tmp_path / "encoder.pt2")
    with pytest.raises(ValueError, match="posterior_type 'categorical'"):
        export_encoder(tiny_classes(), tmp_path / "encoder.pt2")
    with pytest.raises(ValueError, match="semi_amortized_steps"):
        export_encoder(tiny_vae(semi_amortized_steps=2), tmp_path / "encoder.pt2")
    assert not list(tmp_path.glob("encoder.pt2"))
