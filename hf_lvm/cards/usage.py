"""How a saved model is loaded and used: Python that a card shows and that runs as it stands."""

import json
from typing import Any

_TEXT = '"This is the first text of two ."'
_OTHER = '"And here is another one ."'

_LOAD = """\
{imports}

import hf_lvm  # tells the Auto classes of transformers about this model

name = {name}  # the folder of the run, or its hub id
model = {auto_class}.from_pretrained(name).eval()
"""
_PROCESSOR = "processor = AutoProcessor.from_pretrained(name)\n"

_BODIES = {
    "hf_lvm_text_vae": f"""
batch = processor([{_TEXT}])
posterior = model.encode(batch["input_ids"], batch["attention_mask"])  # q(z|x), a torch Distribution
print(posterior.mode.shape)
print(model.reconstruct({_TEXT}, processor=processor))  # to z and back
print(model.interpolate({_TEXT}, {_OTHER}, processor=processor, steps=4))
print(model.sample(3, processor=processor))  # draws of the prior, written out
print(model.estimate_log_likelihood(**batch, num_samples=20).log_likelihood)  # nats, importance-weighted
""",
    "hf_lvm_neural_hmm": f"""
print(model.parse({_TEXT}, processor=processor))  # [[(token, state), ...]]
print(model.sample(3, processor=processor))
""",
    "hf_lvm_neural_topic": """
topics = model.topics(5, processor=processor)  # the words of each topic
print(topics[0])
print(model.parse(" ".join(topics[0]), processor=processor))  # [[(topic, share), ...]] of a document
""",
    "hf_lvm_urnng": f"""
print(model.parse({_TEXT}, processor=processor)[0])  # the most probable tree, an nltk.Tree
print(model.surprisal({_TEXT}, processor=processor)[0])  # [(word, nats), ...]
print(model.sample(2, processor=processor))
""",
    "hf_lvm_latent_summarizer": f"""
print(model.summarize({_TEXT}, processor=processor))
print(model.summarize({_TEXT}, processor=processor, words=3))
""",
    "hf_lvm_struct_vae": f"""
print(model.parse({_TEXT}, processor=processor))  # the meaning
print(model.parse_n_best({_TEXT}, 2, processor=processor))  # the best two, with log q(z|x) in nats
""",
    "language_model": """
prompt = torch.tensor([[processor.start_token_id]])
written = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=True, max_new_tokens=20)
print(processor.batch_decode(written))
""",
    "hf_lvm_task_and_talk": """
bots = model.run(0)  # one of the runs that trained side by side
objects = torch.tensor([[0] * len(model.config.num_values), [1] * len(model.config.num_values)])
talk = bots.talk(objects, tasks=torch.tensor([0, 1]))
print(talk.dialogs)  # questions and answers in turn
print(talk.guesses, talk.right)  # the two values that were guessed
""",
}
_CONDITION = '"what the text is about"'
_CONDITIONAL_TEXT_VAE = f"""
condition = {_CONDITION}  # like the texts of the column CONDITION_COLUMN
batch = processor([{_TEXT}], conditions=[condition])
print(model.encode_texts({_TEXT}, conditions=condition, processor=processor).mode.shape)  # q(z|x, c)
print(model.reconstruct({_TEXT}, conditions=condition, processor=processor))  # to z and back
print(model.sample(3, conditions=condition, processor=processor))  # draws of p(z|c), written out
print(model.estimate_log_likelihood(**batch, num_samples=20).log_likelihood)  # log p(x|c), nats, importance-weighted
"""
_CLASSES = f"""
texts = [{_TEXT}, {_OTHER}]
print(model.classify(texts, processor=processor, method="METHOD"))  # HOW
print(model.class_probabilities(**processor(texts), method="METHOD"))
"""
_DRAWN_CLASSES = "print(model.sample(3, processor=processor))  # choose a class, then write\n"
_GAME = """
{objects}
messages = model.speak(objects{processor})
print(model.symbols_of(messages))
print(model.listen(messages, objects{processor}).exp())  # (N, N), p(candidate | message)
"""
# What a game is about -> the objects of an example.
_OBJECTS = {
    "attributes": "objects = torch.tensor([{first}, {second}])  # two combinations of attributes",
    "text": f"objects = [{_TEXT}, {_OTHER}]",
    "vectors": "objects = torch.randn(2, model.config.feature_size)  # in place of two vectors of features",
}


def usage_code(settings: dict[str, Any], name: str) -> str:
    """Python that loads a model and uses it.

    Args:
        settings: of `results.json`; the model type, and of a game what its objects are.
        name: folder or hub id.
    """
    model_type = settings["model_type"]
    reads_texts = model_type != "hf_lvm_task_and_talk"
    if model_type == "hf_lvm_referential_game":
        reads_texts, body = settings.get("objects") == "text", _game(settings)
    elif model_type == "hf_lvm_latent_class":
        body = _classes(settings)
    elif model_type == "hf_lvm_text_vae" and settings.get("prior_type") == "conditional_gaussian":
        column = str(settings.get("condition_column") or "of the conditions")
        body = _CONDITIONAL_TEXT_VAE.replace("CONDITION_COLUMN", json.dumps(column, ensure_ascii=False))
    else:
        body = _BODIES[model_type]
    auto_class = "AutoModelForCausalLM" if model_type == "language_model" else "AutoModel"
    imports = ["import torch"] if "torch." in body else []
    classes = [auto_class, "AutoProcessor"] if reads_texts else [auto_class]
    imports.append(f"from transformers import {', '.join(classes)}")
    quoted = json.dumps(name, ensure_ascii=False)
    load = _LOAD.format(imports="\n".join(imports), name=quoted, auto_class=auto_class)
    return load + (_PROCESSOR if reads_texts else "") + body


def _game(settings: dict[str, Any]) -> str:
    kind = {"attributes": "attributes", "text": "text"}.get(settings.get("objects"), "vectors")
    count = len(settings.get("attribute_sizes") or ())
    objects = _OBJECTS[kind].format(first=[0] * count, second=[1] * count)
    return _GAME.format(objects=objects, processor=", processor=processor" if kind == "text" else "")


def _classes(settings: dict[str, Any]) -> str:
    # Under the marginal likelihood the encoder is not trained.
    by_bayes = settings.get("objective") == "marginal"
    method, how = ("bayes", "p(z|x), by Bayes' rule") if by_bayes else ("encoder", "q(z|x)")
    body = _CLASSES.replace("METHOD", method).replace("HOW", how)
    # A conditional prior needs a text that z is about before a class can be drawn.
    return body if settings.get("prior_type") == "conditional" else body + _DRAWN_CLASSES
