"""A KL weight that steers the KL term to a target: the PI controller of ControlVAE (Shao et al. 2020, algorithm 1).

With error e(t) = target - KL(t), in nats per sentence, the weight at step t is

    weight(t) = minimum + K_p / (1 + exp(e(t))) + I(t),     I(t) = I(t-1) - K_i e(t),

kept within [minimum, maximum]. A KL above the target raises the weight, one below lowers it; the integral I remembers
which weight holds the target, and the proportional term answers at once, by at most K_p.

The integral stops where the weight is at one of its ends, so a target that could not be reached for a thousand steps
leaves nothing to unlearn once it can be. (The published code means to do this, but its condition can never hold.)
"""

import math

_PROGRESS = ("weight", "integral")


class TargetKLController:
    """Chooses the KL weight of every step from the KL of the one before. Plain numbers, no randomness, no communication.

    With several processes, feed every one of them the same KL, the mean over all: they then hold the same weight.

    Example:

    ```python
    >>> from hf_lvm.objectives import TargetKLController
    >>> controller = TargetKLController(target=8.0)
    >>> controller.weight
    0.0
    >>> controller.update(20.0) > 0  # too much KL: it begins to cost
    True

    ```

    Args:
        target: nats per sentence, above 0.
        proportional_gain: K_p, the published .01 by default.
        integral_gain: K_i per nat and step, the published .0001 by default. A KL that is 5 nats too high for 2,000 steps
            then raises the weight by 1; larger is faster and, past some value, swings.
        minimum: the smallest weight.
        maximum: the largest weight.
        start: the weight before the first update; `minimum` by default.

    Raises:
        ValueError: a setting is not allowed; the message says what is.
    """

    def __init__(
        self,
        target: float,
        *,
        proportional_gain: float = 0.01,
        integral_gain: float = 0.0001,
        minimum: float = 0.0,
        maximum: float = 1.0,
        start: float | None = None,
    ):
        if not (target > 0.0 and math.isfinite(target)):
            raise ValueError(f"The target KL is {target}; it is a number of nats per sentence above 0.")
        if not (proportional_gain >= 0.0 and integral_gain > 0.0):
            raise ValueError(
                f"proportional_gain is {proportional_gain} and integral_gain {integral_gain}; the first is 0 or more, the "
                "second above 0, or the weight never settles on the target."
            )
        if not 0.0 <= minimum < maximum < math.inf:
            raise ValueError(f"The KL weight cannot move between {minimum} and {maximum}: give 0 <= minimum < maximum.")
        start = minimum if start is None else start
        if not minimum <= start <= maximum:
            raise ValueError(f"start is {start}; it lies between minimum={minimum} and maximum={maximum}.")
        self.target = float(target)
        self.proportional_gain = float(proportional_gain)
        self.integral_gain = float(integral_gain)
        self.minimum = float(minimum)
        self.maximum = float(maximum)
        self.weight = float(start)
        # The proportional term is half its gain on the target, so this start holds where the KL is right.
        self.integral = self.weight - self.minimum - self.proportional_gain / 2

    def update(self, kl: float) -> float:
        """Take in the KL of a step, in nats per sentence (unweighted, mean over the batch); returns the next weight.

        Raises:
            ValueError: the KL is not finite.
        """
        if not math.isfinite(kl):
            raise ValueError(f"The KL is {kl}: the training has diverged, and no weight of the KL term mends that.")
        error = self.target - float(kl)
        proportional = self.proportional_gain * (0.5 - 0.5 * math.tanh(0.5 * error))
        # Beyond these ends no error could bring the weight back in one step.
        integral = min(max(self.integral - self.integral_gain * error, -self.proportional_gain), self.maximum - self.minimum)
        self.integral = integral
        self.weight = min(max(self.minimum + proportional + integral, self.minimum), self.maximum)
        return self.weight

    def state_dict(self) -> dict[str, float]:
        """Settings and progress as plain numbers, for a checkpoint."""
        return {name: getattr(self, name) for name in (*self._settings(), *_PROGRESS)}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from a `state_dict`.

        Raises:
            ValueError: it is that of a controller with other settings, or not whole.
        """
        expected = {*self._settings(), *_PROGRESS}
        if set(state) != expected:
            raise ValueError(f"The state of a KL controller holds {sorted(expected)}, but this one {sorted(state)}.")
        for name, value in self._settings().items():
            if state[name] != value:
                raise ValueError(
                    f"This run steers the KL with {name}={value}, the one to go on from with {name}={state[name]}: go on "
                    "with the same settings, or start anew."
                )
        self.weight, self.integral = float(state["weight"]), float(state["integral"])

    def _settings(self) -> dict[str, float]:
        names = ("target", "proportional_gain", "integral_gain", "minimum", "maximum")
        return {name: getattr(self, name) for name in names}
