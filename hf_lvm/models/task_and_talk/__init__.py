"""Task & Talk: two bots that invent a language to tell each other about objects (Kottur et al. 2017)."""

from hf_lvm.models.task_and_talk.configuration_task_and_talk import TaskAndTalkConfig
from hf_lvm.models.task_and_talk.modeling_task_and_talk import Talk, TaskAndTalkModel, TaskAndTalkOutput

__all__ = ["Talk", "TaskAndTalkConfig", "TaskAndTalkModel", "TaskAndTalkOutput"]
