"""Referential games: a language that two agents invent (Havrylov and Titov 2017)."""

from hf_lvm.models.referential_game.configuration_referential_game import ReferentialGameConfig
from hf_lvm.models.referential_game.modeling_referential_game import ReferentialGameModel, ReferentialGameOutput
from hf_lvm.models.referential_game.playing import Play

__all__ = ["Play", "ReferentialGameConfig", "ReferentialGameModel", "ReferentialGameOutput"]
