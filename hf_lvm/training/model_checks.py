"""What the keys of a run ask of its model: checked before the first step, and not when a phase first comes to need it."""

from torch import nn

from hf_lvm.objectives.free_bits import FREE_BITS_MODES, PER_DIMENSION_MODES
from hf_lvm.training.arguments import LatentTrainingArguments
from hf_lvm.training.parameter_parts import parameter_parts
from hf_lvm.training.part_arguments import PART_OF_KEY, PART_OF_RATE
from hf_lvm.training.phases.collapse_guard import num_dimensions

IN_TOTAL = tuple(mode for mode in FREE_BITS_MODES if mode != "none" and mode not in PER_DIMENSION_MODES)


def check_model(args: LatentTrainingArguments, model: nn.Module) -> None:
    """Raise a `ValueError` when the model cannot do what the keys of the run say."""
    check_temperature_has_use(args, model)
    check_parts_can_be_trained(args, model)
    check_free_bits_have_use(args, model)
    check_kl_target_is_in_reach(args, model)
    check_aggressive_has_use(args, model)


def check_temperature_has_use(args: LatentTrainingArguments, model: nn.Module) -> None:
    """Raise a `ValueError` for a schedule of the temperature beside a model that relaxes nothing, or learns its own."""
    if args.temperature_schedule == "constant":
        return
    config = getattr(model, "config", None)
    estimator = getattr(config, "estimator", None)
    if estimator not in ("gumbel_softmax", "straight_through"):
        raise ValueError(
            f"temperature_schedule is {args.temperature_schedule!r}, and the estimator {estimator!r} has no temperature that "
            "falls: choose 'gumbel_softmax' or 'straight_through', or leave it out."
        )
    if config.learned_temperature:
        raise ValueError("learned_temperature and temperature_schedule would both set the temperature: leave out one of them.")


def check_parts_can_be_trained(args: LatentTrainingArguments, model: nn.Module) -> None:
    """Raise a `ValueError` for a key of a part that the model does not have, or has frozen, or shares with another part."""
    parts = parameter_parts(model)
    owners: dict[int, str] = {}
    for key in args.part_keys():
        part = PART_OF_KEY[key]
        if part not in parts:
            there = f"it names {', '.join(map(repr, parts))}" if parts else "it names none"
            raise ValueError(
                f"{key} is for a model with a part {part!r} that is trained in its own way, and {type(model).__name__} has "
                f"none ({there}): leave the key out"
            )
        trainable = [(name, parameter) for name, parameter in parts[part] if parameter.requires_grad]
        if not trainable:
            raise ValueError(
                f"{key} says how the part {part!r} of the model is trained, and all of it is frozen: leave the key out, or do "
                "not freeze the part"
            )
        for name, parameter in trainable:
            if owners.setdefault(id(parameter), part) != part:
                raise ValueError(
                    f"{key} is for the part {part!r} of the model, and its parameter {name!r} also belongs to the part "
                    f"{owners[id(parameter)]!r}, which has keys of its own: leave out the keys of one of the two"
                )


def check_optimizer_is_made_here(args: LatentTrainingArguments, *, is_given: bool, is_sharded: bool) -> None:
    """Raise a `ValueError` for keys of parts where the optimizer is made, or the gradients are kept, by somebody else.

    Args:
        args: of the run.
        is_given: the optimizer was handed to the trainer.
        is_sharded: DeepSpeed or FSDP keeps each process's share of the weights.
    """
    keys = args.part_keys()
    ignored = [key for key in keys if key in (*PART_OF_RATE, "encoder_optim") and args.encoder_learning_rate != 0]
    if is_given and ignored:
        raise ValueError(
            f"{', '.join(ignored)}: the optimizer that was given to the trainer has rates and groups already. Leave the keys "
            "out, or let the trainer make the optimizer"
        )
    keys = [key for key in keys if key not in (*PART_OF_RATE, "fixed_encoder_steps")]
    if is_sharded and keys:
        raise ValueError(
            f"{', '.join(keys)} need parameters that are whole in each process, which sharded training (DeepSpeed, FSDP) does "
            "not keep: use several processes with whole models, or one"
        )


def check_free_bits_have_use(args: LatentTrainingArguments, model: nn.Module) -> None:
    """Raise a `ValueError` for free bits, the run's own or those of the collapse guard, that the model's KL cannot take."""
    guard_raises = args.collapse_guard == "act" and args.collapse_guard_action == "free_bits"
    if args.free_bits == 0.0 and not guard_raises:
        return
    if args.free_bits > 0.0:
        key, instead = f"free_bits {args.free_bits:g}", "set free_bits to 0"
    else:
        key, instead = "collapse_guard_action 'free_bits'", "set collapse_guard to 'warn'"
    objective = getattr(getattr(model, "config", None), "objective", "elbo")
    if objective != "elbo":
        raise ValueError(
            f"{key} holds up the KL term of the ELBO, and the objective is {objective!r}: {instead}, or choose the objective "
            "'elbo'."
        )
    if args.free_bits_mode in PER_DIMENSION_MODES and not getattr(model, "has_kl_per_dimension", True):
        raise ValueError(
            f"{key} in free_bits_mode {args.free_bits_mode!r} needs a KL per dimension, and this posterior and prior have "
            f"none: choose one of {', '.join(map(repr, IN_TOTAL))}, whose free bits are nats in total, or {instead}."
        )


def check_kl_target_is_in_reach(args: LatentTrainingArguments, model: nn.Module) -> None:
    """Raise a `ValueError` for a target of the KL that no KL weight can reach."""
    if args.kl_target is None:
        return
    config = getattr(model, "config", None)
    if getattr(config, "posterior_concentration", None) is not None:
        raise ValueError(
            f"kl_target is {args.kl_target} and posterior_concentration {config.posterior_concentration}, which makes the KL "
            "of every text the same number: leave out one of the two."
        )
    floors = {}
    if getattr(config, "posterior_type", None) == "delta":
        floors[f"committed_rate {config.committed_rate:g}"] = config.committed_rate
    if args.free_bits > 0.0:
        times = num_dimensions(config) if args.free_bits_mode in PER_DIMENSION_MODES else 1
        floors[f"free_bits {args.free_bits:g} ({args.free_bits_mode})"] = args.free_bits * times
    for name, floor in floors.items():
        if args.kl_target <= floor:
            raise ValueError(
                f"kl_target is {args.kl_target}, and {name} keeps the KL at {floor:g} nats or more: raise the target above "
                "that, or leave out one of the two."
            )


def check_aggressive_has_use(args: LatentTrainingArguments, model: nn.Module) -> None:
    """Raise a `ValueError` for aggressive training, now or by the guard, of a model whose latent is no vector."""
    by_guard = args.collapse_guard == "act" and args.collapse_guard_action == "aggressive"
    if (args.aggressive or by_guard) and hasattr(getattr(model, "config", None), "inferred_counts"):
        key = "aggressive" if args.aggressive else "collapse_guard_action 'aggressive'"
        raise ValueError(
            f"{key} is for a latent vector, whose encoder lags behind, and this latent is a vector of categories: leave it "
            "out, or see what the guard recommends under collapse_guard 'warn'."
        )
