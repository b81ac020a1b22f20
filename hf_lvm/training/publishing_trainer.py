"""A `Trainer` that shares exactly what `hf-lvm push` shares: the files of the run, in one commit, with the card it has."""

import logging
from concurrent.futures import Future
from pathlib import Path

from huggingface_hub import HfApi
from transformers import Trainer
from transformers.trainer_utils import HubStrategy

from hf_lvm.training.publishing import PublishedRun, create_repository, publish_run
from hf_lvm.training.run_cards import has_card, write_trainer_card
from hf_lvm.training.run_files import CARD

logger = logging.getLogger(__name__)


class PublishingTrainer(Trainer):
    """A `Trainer` whose uploads are whole.

    That of transformers writes a card of its own over the one in the folder, uploads whatever lies there, a pickle and
    leftovers among it, and copies a checkpoint file by file over the model of the run before it uploads that.
    """

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Make the repository, before a long training finds out that it cannot; see `transformers.Trainer.init_hf_repo`.

        Raises:
            ValueError: a `hub_strategy` that shares the state of the optimizer.
            PermissionError: there is no token, or it may not write there.
            ConnectionError: the Hub could not be reached.
        """
        if HubStrategy(self.args.hub_strategy) in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            raise ValueError(
                f"hub_strategy {HubStrategy(self.args.hub_strategy).value!r} would share the state of the optimizer, which "
                "nobody needs to load the model: choose 'end' or 'every_save'"
            )
        if not self.is_world_process_zero():
            return
        name = self.args.hub_model_id or Path(self.args.output_dir).absolute().name
        private = self.args.hub_private_repo if private is None else private
        self.hub_model_id = create_repository(HfApi(token=token or self.args.hub_token), name, private)
        self.push_in_progress = None

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs,
    ) -> PublishedRun | Future | None:
        """Save the model and share the folder; a card that is there is kept. To be called in every process.

        Args:
            commit_message, blocking, token, revision, private: as in `transformers.Trainer.push_to_hub`.
            **kwargs: those of `create_model_card`, for a folder without a card.

        Returns:
            What was shared, or a future of it without `blocking`; None in all processes but the first.

        Raises:
            OSError, ValueError: see [`hf_lvm.training.publishing.publish_run`].
        """
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=private)
        self.save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return None
        if not Path(self.args.output_dir, CARD).exists():
            self.create_model_card(**kwargs)
        if blocking:
            return self.publish(commit_message, token, revision)
        return HfApi().run_as_future(self.publish, commit_message, token, revision)

    def create_model_card(
        self,
        language: str | None = None,
        license: str | None = None,
        tags: str | list[str] | None = None,
        model_name: str | None = None,
        finetuned_from: str | None = None,
        tasks: str | list[str] | None = None,
        dataset_tags: str | list[str] | None = None,
        dataset: str | list[str] | None = None,
        dataset_args: str | list[str] | None = None,
    ) -> None:
        """Write the card of `hf_lvm.cards` into `output_dir`; transformers' own one for a model that has none there.

        A card that somebody edited stays, with a warning. Before `results.json` of the run is there the card says what the
        trainer knows, and no numbers. Of the arguments only `language`, `license`, `tags` and `dataset` are used by it.
        """
        if not self.is_world_process_zero():
            return
        if has_card(self):
            write_trainer_card(self, language, license, tags, dataset)
            return
        super().create_model_card(
            language, license, tags, model_name, finetuned_from, tasks, dataset_tags, dataset, dataset_args
        )

    def publish(
        self, commit_message: str | None = "End of training", token: str | None = None, revision: str | None = None
    ) -> PublishedRun:
        """Share the folder of the run as it is, from the first process alone.

        Raises:
            OSError, ValueError: see [`hf_lvm.training.publishing.publish_run`].
        """
        folder = self.args.output_dir
        try:
            return self._publish(folder, commit_message, token, revision)
        except OSError as error:
            error_class = type(error) if type(error) in (ConnectionError, PermissionError) else OSError
            raise error_class(
                f"the run is finished and whole in {folder}, but was not shared: {error}. Later: `hf-lvm push {folder} "
                f"{self.hub_model_id}`"
            ) from error

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if not self.is_world_process_zero() or HubStrategy(self.args.hub_strategy) == HubStrategy.END:
            return
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        message = f"Training in progress, step {self.state.global_step}"
        try:
            # Not in the background, where the folder could be deleted before it is sent.
            self._publish(checkpoint_folder, message)
        except OSError as error:
            logger.warning(f"{checkpoint_folder} is saved, but was not shared, and training goes on: {error}")

    def _publish(
        self, folder: str, commit_message: str | None, token: str | None = None, revision: str | None = None
    ) -> PublishedRun:
        return publish_run(
            folder,
            self.hub_model_id,
            private=self.args.hub_private_repo,
            revision=revision or self.args.hub_revision,
            commit_message=commit_message,
            token=token or self.args.hub_token,
            without_card=True,
        )
