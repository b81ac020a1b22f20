"""The toy model with parts that it names, as a decoder of trees names what decides its actions."""

from tests.training import toy_latent_model as toy


class PartsModel(toy.ToyModel):
    """Its head stands for what decides the actions."""

    def parameter_parts(self):
        return {"encoder": self.inference_parameters(), "action_head": self.head.named_parameters(prefix="head")}


def build(seed: int = 0) -> PartsModel:
    model = PartsModel(toy.ToyConfig())
    model.load_state_dict(toy.build(seed).state_dict())
    return model


# The optimizers of Kim et al. (2019), at rates that move the toy model.
OPTIMIZERS = {
    "optim": "sgd", "learning_rate": 0.05, "action_learning_rate": 0.01, "encoder_optim": "adamw_torch",
    "encoder_learning_rate": 0.02, "lr_scheduler_type": "linear", "max_grad_norm": 2.0, "encoder_max_grad_norm": 0.5,
}  # fmt: skip
