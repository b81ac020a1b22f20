"""A new process: load every model from the hub by its name, after nothing but `import hf_lvm`; print what was found."""

import hashlib
import json
import os
import sys


def error_of(load, *arguments, **options):
    try:
        load(*arguments, **options)
    except Exception as error:
        return {"class": type(error).__name__, "message": str(error)}


def fingerprints(model):
    import torch

    return {
        name: hashlib.sha256(value.contiguous().flatten().view(torch.uint8).numpy().tobytes()).hexdigest()
        for name, value in model.state_dict().items()
    }


def main() -> None:
    from transformers import AutoConfig, AutoModel, AutoProcessor, AutoTokenizer

    revision, report = os.environ["REVISION"], {"models": {}, "private": {}}
    report["not_imported"] = {
        auto.__name__: error_of(auto.from_pretrained, "tester/text_vae") for auto in (AutoConfig, AutoModel, AutoProcessor)
    }

    import hf_lvm  # noqa: F401
    from hf_lvm.analysis.trained_model import load_trained

    for name in sys.argv[1:]:
        place = {"pretrained_model_name_or_path": f"tester/{name}"}
        place |= {"revision": revision} if name == "text_vae" else {}
        config, model = AutoConfig.from_pretrained(**place), AutoModel.from_pretrained(**place)
        found = {"class": type(model).__name__, "config_class": type(config).__name__, "config": config.to_dict()}
        report["models"][name] = found | {"tensors": fingerprints(model)}
        if name not in ("referential_game", "task_and_talk"):
            processor, tokenizer = AutoProcessor.from_pretrained(**place), AutoTokenizer.from_pretrained(**place)
            report["models"][name] |= {
                "processor": type(processor).__name__,
                "tokens": tokenizer.tokenize("a b"),
                "words": processor.decode(processor("a b")["labels"][0]).split(),
            }
        report["private"][name] = error_of(load_trained, f"tester/private-{name}", "forward")
        if name == "neural_hmm":
            hmm = model
    report["newest"] = fingerprints(AutoModel.from_pretrained("tester/text_vae"))
    os.environ["HF_TOKEN"] = "hf_owner"
    report["private_with_token"] = type(AutoModel.from_pretrained("tester/private-text_vae")).__name__
    hmm.push_to_hub("tester/neural_hmm")
    hmm.push_to_hub("tester/new-hmm")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
