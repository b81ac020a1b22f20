"""`hf-lvm push`: a trained model for others."""

import argparse
from collections.abc import Sequence

from hf_lvm.training.publishing import check_repository_name, publish_run
from hf_lvm.training.run_files import CARD, run_files


def main(argv: Sequence[str], prog: str) -> None:
    """Share a run in one commit, or list what would be shared; say how to load it."""
    options = _parser(prog).parse_args(argv)
    if options.dry_run:
        check_repository_name(options.repository)
        files = run_files(options.run, options.exclude, options.without_texts)
        print(files)
        if CARD not in files.shared:
            print(f"no card: make one with `hf-lvm card {options.run}`, or add --without_card")
        return
    published = publish_run(
        options.run,
        options.repository,
        private=True if options.private else None,
        revision=options.revision,
        commit_message=options.commit_message,
        token=options.token,
        exclude=options.exclude,
        without_texts=options.without_texts,
        without_card=options.without_card,
    )
    print(published.files)
    what = "all of it is there already, and no commit was made" if published.unchanged else "shared in one commit"
    print(f"\n{published.url}: {what}\n\nimport hf_lvm\nfrom transformers import AutoModel\n")
    print(f'model = AutoModel.from_pretrained("{published.repository}", revision="{published.revision}")')


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Share a finished run on the Hub in one commit: model, processor, card (README.md), results, examples and "
        "figures. Checkpoints, optimizer states, logs and any other file in the folder are never uploaded, and an upload that "
        "is interrupted publishes nothing.",
    )
    parser.add_argument("run", help="folder of a trained model (output_dir of a run)")
    parser.add_argument("repository", help="owner/name, such as your-name/text-vae; made where there is none")
    parser.add_argument("--private", action="store_true", help="a new repository is seen by you alone")
    parser.add_argument("--revision", help="branch to commit to, made where there is none (default: main)")
    parser.add_argument("--commit_message", help="what the history says of the upload")
    parser.add_argument(
        "--token", help="access token (default: that of HF_TOKEN or `hf auth login`, where no list of processes shows it)"
    )
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="files to leave out, such as 'figures/*'; can be given again",
    )
    parser.add_argument(
        "--without_texts",
        action="store_true",
        help="for texts that are not yours to share: leave out every file that may show some of them, examples.txt, "
        "classes.txt, trees.txt, summaries.txt, parses.txt, messages.txt, dialogs.txt, lexicon.txt, lexicon.json, latent "
        "maps, drawn trees and lexicons. Single words stay, in the tokenizer for example, and so does what you wrote into the "
        "card",
    )
    parser.add_argument("--without_card", action="store_true", help="share it even though the folder has no README.md")
    parser.add_argument("--dry_run", action="store_true", help="list files and sizes, ask no Hub and upload nothing")
    return parser
