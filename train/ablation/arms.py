"""The arms of the ablations: what each changes, and the settings that do it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from train.run_folder import RunFolder
from train.settings import ROOT, TrainSettings, load_settings, parts_overrides

BASE = "base"
STAGES = (1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to train, from the frozen parts to the end of stage 2.

    Attributes:
        name: Of its folder, and on the command line.
        title: What tables call it.
        config: Which of the two settings files of `train/configs` it takes, without `_stage1.yaml`.
        data: Share of the different samples of stage 1 that it sees; the number of steps is the
            same. 0 leaves stage 1 out.
    """

    name: str
    title: str
    config: str = "tiny"
    data: float = 1.0

    @property
    def stages(self) -> tuple[int, ...]:
        """The stages that it is trained in."""
        return STAGES if self.data else STAGES[1:]


ABLATIONS = (
    Arm(name=BASE, title="one linear layer"),
    Arm(name="no_qformer", title="no Q-Former", config="ablations/no_qformer"),
    Arm(name="three_layers", title="three layers", config="ablations/three_layers"),
    Arm(name="tuned_qformer", title="tuned Q-Former", config="ablations/tuned_qformer"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is trained, and on what.

    Attributes:
        output: Receives a folder an arm and seed.
        arms: The ways to train, the base first.
        parts: Folder of the frozen parts, as stage 0 leaves it; None takes the embedded default's.
        steps_scale: So many times the steps of the settings files.
        seeds: Every arm is trained once with each.
        scenes: Held-out pictures that are described, and questions of a type that are asked.
        device: What to train on; scores are made on the CPU.
    """

    output: Path
    arms: tuple[Arm, ...]
    parts: Path | None = None
    steps_scale: float = 1.0
    seeds: tuple[int, ...] = (0,)
    scenes: int = 100
    device: str = "auto"

    def folder(self, arm: Arm, seed: int, stage: int) -> RunFolder:
        """Where a stage of an arm is trained."""
        return RunFolder(self.output / arm.name / f"seed{seed}" / f"stage{stage}")

    def config(self, arm: Arm, stage: int) -> Path:
        """The settings file that a stage of an arm begins with."""
        return ROOT / "train" / "configs" / f"{arm.config}_stage{stage}.yaml"

    def settings(self, arm: Arm, seed: int, stage: int) -> TrainSettings:
        """What a stage of an arm is trained with."""
        return load_settings(self.config(arm, stage), self.overrides(arm, seed, stage))

    def overrides(self, arm: Arm, seed: int, stage: int) -> list[str]:
        """What differs from the settings file, as `--set` takes it."""
        plain = load_settings(self.config(arm, stage))
        schedule = plain.schedule
        steps = max(2, round(self.steps_scale * schedule.steps))
        warmup = max(1, round(self.steps_scale * schedule.warmup_steps))
        return [
            *self._parts(arm, seed, stage, plain),
            f"seed={seed}",
            f"device={self.device}",
            f"schedule.steps={steps}",
            f"schedule.warmup_steps={min(steps, warmup)}",
            f"start={self._start(arm, seed, stage)}",
            # Scores follow; a look shows only that nothing went wrong.
            f"check_every={steps}",
            "check_pictures=1",
            "check_tokens=40",
            *self._share(arm, stage, steps * plain.samples_per_step),
        ]

    def _parts(self, arm: Arm, seed: int, stage: int, plain: TrainSettings) -> Iterator[str]:
        if self.parts is not None:
            for override in parts_overrides(self.parts):
                if plain.model.qformer or not override.startswith("model.qformer="):
                    yield override
        if stage > 1 and plain.qformer_rate and 1 in arm.stages:
            yield f"model.qformer={self.folder(arm, seed, 1).qformer}"

    def _start(self, arm: Arm, seed: int, stage: int) -> str:
        first = stage == 1 or 1 not in arm.stages
        return "" if first else str(self.folder(arm, seed, 1).projection)

    @staticmethod
    def _share(arm: Arm, stage: int, samples: int) -> Iterator[str]:
        if stage == 1 and arm.data < 1:
            yield f"data.samples={max(1, round(arm.data * samples))}"


def arms_of(fractions: Sequence[float]) -> tuple[Arm, ...]:
    """The paper's ablations, and the base with these shares of stage 1's data."""
    return (*ABLATIONS, *(_with_data(each) for each in sorted(set(fractions)) if each < 1))


def _with_data(share: float) -> Arm:
    percent = f"{100 * share:g}"
    return Arm(
        name=f"data_{percent.replace('.', '_')}",
        title=f"{percent} % of stage 1's data" if share else "no stage 1",
        data=share,
    )
