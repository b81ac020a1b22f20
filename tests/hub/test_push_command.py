import pytest

from hf_lvm.cli.main import main


def push(capsys, *argv):
    status = main(["push", *map(str, argv)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture
def run(saved_models):
    return saved_models["text_vae"].folder


def test_push_says_what_was_shared_and_how_to_load_it(capsys, hub, run):
    status, output, _ = push(capsys, run, "tester/vae", "--private", "--commit_message", "first", "--exclude", "examples.txt")
    assert status == 0
    commit, _ = hub.repository("tester/vae").history()
    assert commit.message == "first" and hub.repository("tester/vae").private
    assert "examples.txt" not in commit.files and "not shared: " in output
    assert f"{hub.url}/tester/vae: shared in one commit" in output
    assert output.endswith(f'model = AutoModel.from_pretrained("tester/vae", revision="{commit.oid}")\n')
    status, output, _ = push(capsys, run, "tester/vae", "--exclude", "examples.txt", "--token", "hf_owner")
    assert status == 0 and "no commit was made" in output and len(hub.repository("tester/vae").history()) == 2


def test_dry_run_lists_and_asks_nobody(capsys, hub, run):
    status, output, _ = push(capsys, run, "tester/vae", "--dry_run")
    assert status == 0 and hub.requests == []
    for shown in ("model.safetensors", "decoder_tokenizer/tokenizer.json", "figures/training_curves.png", " B  examples.txt"):
        assert shown in output
    assert output.splitlines()[-1].startswith("not shared: .cache/, checkpoint-3/, notes.txt")


def test_texts_can_be_left_out(capsys, hub, run):
    status, output, _ = push(capsys, run, "tester/vae", "--without_texts", "--dry_run")
    assert status == 0 and " B  examples.txt" not in output and "figures/training_curves.png" in output
    assert push(capsys, run, "tester/vae", "--without_texts")[0] == 0
    shared = hub.files("tester/vae")
    assert "examples.txt" not in shared and {"README.md", "results.json", "model.safetensors"} <= shared.keys()


@pytest.mark.parametrize(
    ("argv", "token", "expected"),
    [
        (["tester/vae", "--token", "hf_stranger"], "hf_owner", "may not write to tester/vae"),
        (["tester/vae"], None, "no token"),
        (["vae"], "hf_owner", "'vae' is no repository"),
        (["tester/vae", "--exclude", "nothing"], "hf_owner", "nothing to leave out"),
    ],
)
def test_errors_are_one_line(capsys, hub, run, monkeypatch, argv, token, expected):
    monkeypatch.delenv("HF_TOKEN") if token is None else monkeypatch.setenv("HF_TOKEN", token)
    status, output, errors = push(capsys, run, *argv)
    assert status == 2 and not output
    assert errors.startswith("hf-lvm push: error: ") and expected in errors and errors.count("\n") == 1


def test_no_run_and_no_connection(capsys, hub, run, tmp_path):
    status, _, errors = push(capsys, tmp_path, "tester/vae")
    assert status == 2 and "holds no config.json" in errors
    hub.break_connection(0)
    status, _, errors = push(capsys, run, "tester/vae")
    assert status == 2 and "nothing of the run was published in tester/vae" in errors.splitlines()[-1]
