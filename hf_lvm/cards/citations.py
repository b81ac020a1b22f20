"""Which papers a run rests on, as BibTeX: those of its model, of its estimator and of what else it uses."""

from typing import Any

# key -> (entry type, authors, title, field of the venue, venue, year)
PAPERS: dict[str, tuple[str, str, str, str, str, int]] = {
    "bowman2016": (
        "inproceedings",
        "Samuel R. Bowman and Luke Vilnis and Oriol Vinyals and Andrew M. Dai and Rafal Jozefowicz and Samy Bengio",
        "Generating Sentences from a Continuous Space", "booktitle", "CoNLL", 2016,
    ),
    "burda2016": (
        "inproceedings", "Yuri Burda and Roger Grosse and Ruslan Salakhutdinov", "Importance Weighted Autoencoders",
        "booktitle", "ICLR", 2016,
    ),
    "dieng2020": (
        "article", "Adji B. Dieng and Francisco J. R. Ruiz and David M. Blei", "Topic Modeling in Embedding Spaces",
        "journal", "Transactions of the Association for Computational Linguistics", 2020,
    ),
    "dong2020": (
        "inproceedings", "Zhe Dong and Andriy Mnih and George Tucker",
        "DisARM: An Antithetic Gradient Estimator for Binary Latent Variables", "booktitle", "NeurIPS", 2020,
    ),
    "dyer2016": (
        "inproceedings", "Chris Dyer and Adhiguna Kuncoro and Miguel Ballesteros and Noah A. Smith",
        "Recurrent Neural Network Grammars", "booktitle", "NAACL-HLT", 2016,
    ),
    "fu2019": (
        "inproceedings",
        "Hao Fu and Chunyuan Li and Xiaodong Liu and Jianfeng Gao and Asli Celikyilmaz and Lawrence Carin",
        "Cyclical Annealing Schedule: A Simple Approach to Mitigating KL Vanishing", "booktitle", "NAACL-HLT", 2019,
    ),
    "grathwohl2018": (
        "inproceedings", "Will Grathwohl and Dami Choi and Yuhuai Wu and Geoffrey Roeder and David Duvenaud",
        "Backpropagation through the Void: Optimizing Control Variates for Black-Box Gradient Estimation",
        "booktitle", "ICLR", 2018,
    ),
    "havrylov2017": (
        "inproceedings", "Serhii Havrylov and Ivan Titov",
        "Emergence of Language with Multi-agent Games: Learning to Communicate with Sequences of Symbols",
        "booktitle", "NIPS", 2017,
    ),
    "he2019": (
        "inproceedings", "Junxian He and Daniel Spokoyny and Graham Neubig and Taylor Berg-Kirkpatrick",
        "Lagging Inference Networks and Posterior Collapse in Variational Autoencoders", "booktitle", "ICLR", 2019,
    ),
    "jang2017": (
        "inproceedings", "Eric Jang and Shixiang Gu and Ben Poole",
        "Categorical Reparameterization with Gumbel-Softmax", "booktitle", "ICLR", 2017,
    ),
    "kim2018": (
        "inproceedings", "Yoon Kim and Sam Wiseman and Andrew C. Miller and David Sontag and Alexander M. Rush",
        "Semi-Amortized Variational Autoencoders", "booktitle", "ICML", 2018,
    ),
    "kim2019": (
        "inproceedings",
        "Yoon Kim and Alexander Rush and Lei Yu and Adhiguna Kuncoro and Chris Dyer and G{\\'a}bor Melis",
        "Unsupervised Recurrent Neural Network Grammars", "booktitle", "NAACL-HLT", 2019,
    ),
    "kingma2014": (
        "inproceedings", "Diederik P. Kingma and Max Welling", "Auto-Encoding Variational Bayes", "booktitle", "ICLR", 2014,
    ),
    "kingma2014semi": (
        "inproceedings", "Diederik P. Kingma and Danilo J. Rezende and Shakir Mohamed and Max Welling",
        "Semi-supervised Learning with Deep Generative Models", "booktitle", "NIPS", 2014,
    ),
    "kool2019": (
        "inproceedings", "Wouter Kool and Herke van Hoof and Max Welling",
        "Buy 4 REINFORCE Samples, Get a Baseline for Free!", "booktitle",
        "ICLR Workshop on Deep Reinforcement Learning Meets Structured Prediction", 2019,
    ),
    "kottur2017": (
        "inproceedings", "Satwik Kottur and Jos{\\'e} M. F. Moura and Stefan Lee and Dhruv Batra",
        "Natural Language Does Not Emerge `Naturally' in Multi-Agent Dialog", "booktitle", "EMNLP", 2017,
    ),
    "li2019": (
        "inproceedings",
        "Bohan Li and Junxian He and Graham Neubig and Taylor Berg-Kirkpatrick and Yiming Yang",
        "A Surprisingly Effective Fix for Deep Latent Variable Modeling of Text", "booktitle", "EMNLP-IJCNLP", 2019,
    ),
    "maddison2017": (
        "inproceedings", "Chris J. Maddison and Andriy Mnih and Yee Whye Teh",
        "The Concrete Distribution: A Continuous Relaxation of Discrete Random Variables", "booktitle", "ICLR", 2017,
    ),
    "miao2016neural": (
        "inproceedings", "Yishu Miao and Lei Yu and Phil Blunsom", "Neural Variational Inference for Text Processing",
        "booktitle", "ICML", 2016,
    ),
    "miao2016language": (
        "inproceedings", "Yishu Miao and Phil Blunsom",
        "Language as a Latent Variable: Discrete Generative Models for Sentence Compression", "booktitle", "EMNLP", 2016,
    ),
    "mnih2016": (
        "inproceedings", "Andriy Mnih and Danilo J. Rezende", "Variational Inference for Monte Carlo Objectives",
        "booktitle", "ICML", 2016,
    ),
    "rabiner1989": (
        "article", "Lawrence R. Rabiner",
        "A Tutorial on Hidden Markov Models and Selected Applications in Speech Recognition",
        "journal", "Proceedings of the IEEE", 1989,
    ),
    "srivastava2017": (
        "inproceedings", "Akash Srivastava and Charles Sutton", "Autoencoding Variational Inference For Topic Models",
        "booktitle", "ICLR", 2017,
    ),
    "tomczak2018": (
        "inproceedings", "Jakub M. Tomczak and Max Welling", "VAE with a VampPrior", "booktitle", "AISTATS", 2018,
    ),
    "tran2016": (
        "inproceedings", "Ke Tran and Yonatan Bisk and Ashish Vaswani and Daniel Marcu and Kevin Knight",
        "Unsupervised Neural Hidden Markov Models", "booktitle", "Workshop on Structured Prediction for NLP", 2016,
    ),
    "sohn2015": (
        "inproceedings", "Kihyuk Sohn and Honglak Lee and Xinchen Yan",
        "Learning Structured Output Representation using Deep Conditional Generative Models", "booktitle", "NIPS", 2015,
    ),
    "tucker2019": (
        "inproceedings", "George Tucker and Dieterich Lawson and Shixiang Gu and Chris J. Maddison",
        "Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives", "booktitle", "ICLR", 2019,
    ),
    "williams1992": (
        "article", "Ronald J. Williams",
        "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning",
        "journal", "Machine Learning", 1992,
    ),
    "xu2018": (
        "inproceedings", "Jiacheng Xu and Greg Durrett", "Spherical Latent Spaces for Stable Variational Autoencoders",
        "booktitle", "EMNLP", 2018,
    ),
    "yang2017": (
        "inproceedings", "Zichao Yang and Zhiting Hu and Ruslan Salakhutdinov and Taylor Berg-Kirkpatrick",
        "Improved Variational Autoencoders for Text Modeling using Dilated Convolutions", "booktitle", "ICML", 2017,
    ),
    "yin2018": (
        "inproceedings", "Pengcheng Yin and Chunting Zhou and Junxian He and Graham Neubig",
        "StructVAE: Tree-structured Latent Variable Models for Semi-supervised Semantic Parsing",
        "booktitle", "ACL", 2018,
    ),
    "zhao2017": (
        "inproceedings", "Tiancheng Zhao and Ran Zhao and Maxine Eskenazi",
        "Learning Discourse-level Diversity for Neural Dialog Models using Conditional Variational Autoencoders",
        "booktitle", "ACL", 2017,
    ),
    "zhu2020": (
        "inproceedings", "Qile Zhu and Wei Bi and Xiaojiang Liu and Xiyao Ma and Xiaolin Li and Dapeng Wu",
        "A Batch Normalized Inference Network Keeps the KL Vanishing Away", "booktitle", "ACL", 2020,
    ),
}  # fmt: skip

# (setting, its value) -> papers. `True` stands for any value that switches the thing on.
OF_SETTINGS: dict[tuple[str, Any], tuple[str, ...]] = {
    ("objective", "iwae"): ("burda2016",),
    ("estimator", "dreg"): ("tucker2019",),
    ("estimator", "reinforce"): ("williams1992",),
    ("estimator", "reinforce_moving_average"): ("williams1992",),
    ("estimator", "reinforce_learned"): ("williams1992",),
    ("estimator", "reinforce_self_critical"): ("williams1992",),
    ("estimator", "rloo"): ("kool2019",),
    ("estimator", "vimco"): ("mnih2016",),
    ("estimator", "gumbel_softmax"): ("jang2017", "maddison2017"),
    ("estimator", "straight_through"): ("jang2017",),
    ("estimator", "relax"): ("grathwohl2018",),
    ("estimator", "disarm"): ("dong2020",),
    ("posterior_type", "batch_norm"): ("zhu2020",),
    ("posterior_type", "von_mises_fisher"): ("xu2018",),
    ("prior_type", "vamp"): ("tomczak2018",),
    ("prior_type", "conditional_gaussian"): ("sohn2015", "zhao2017"),
    ("kl_schedule", "cyclical_linear"): ("fu2019",),
    ("kl_schedule", "cyclical_cosine"): ("fu2019",),
    ("decoder", "dilated_cnn"): ("yang2017",),
    ("decoder", "hf_lvm_dilated_cnn_decoder"): ("yang2017",),
    ("aggressive", True): ("he2019",),
    ("semi_amortized_steps", True): ("kim2018",),
    ("autoencoder_warmup_steps", True): ("li2019",),
}


def papers_of(settings: dict[str, Any], model_papers: tuple[str, ...]) -> tuple[str, ...]:
    """Keys of `PAPERS`: those of the model first, then those of what its settings use, each once."""
    used = [
        key
        for (name, value), keys in OF_SETTINGS.items()
        if (bool(settings.get(name)) if value is True else settings.get(name) == value)
        for key in keys
    ]
    return tuple(dict.fromkeys([*model_papers, *used]))


def bibtex(key: str) -> str:
    """The BibTeX entry of a paper."""
    kind, author, title, field, venue, year = PAPERS[key]
    rows = {"author": author, "title": f"{{{title}}}", field: venue, "year": year}
    return "\n".join([f"@{kind}{{{key},", *(f"  {name} = {{{value}}}," for name, value in rows.items()), "}"])
