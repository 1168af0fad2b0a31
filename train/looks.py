"""What becomes of a look at held-out pictures: lines, pages, pictures, curves and a sentence."""

from collections.abc import Callable

from train.held_out import HeldOut, Look, write_samples
from train.plot import plot_run
from train.run_folder import RunFolder, read_lines
from train.settings import TrainSettings
from train.sheet import draw_sheet, title_of
from train.trackers import Trackers

_SHOWN = 100
"""Characters of an answer in the sentence."""


class Looks:
    """Looks at held-out pictures, and tells everybody who is to know."""

    def __init__(
        self,
        held_out: HeldOut,
        settings: TrainSettings,
        folder: RunFolder,
        trackers: Trackers,
        say: Callable[[str], None] | None,
    ) -> None:
        """Joins the parts.

        Args:
            held_out: The pictures, and the model that is asked.
            settings: The run's.
            folder: Where it is written down.
            trackers: Get the sheet.
            say: Gets a sentence; None for a process that looks and writes nothing.
        """
        self._held_out = held_out
        self._settings = settings
        self._folder = folder
        self._trackers = trackers
        self._say = say

    def at(self, step: int) -> dict[str, float]:
        """Looks after so many steps; returns what trackers are told."""
        look = self._held_out.look()
        if self._say is not None:
            write_samples(self._folder, self._held_out, look, step)
            draw_sheet(self._folder, title_of(self._settings), step)
            self._plot()
            self._trackers.show("held-out pictures", self._folder.sheet_of(step), step)
            self._say(self._sentence(step, look))
        return {"held_out_loss": look.loss, "exact_answers": look.right / len(look.answers)}

    def _plot(self) -> None:
        folder = self._folder
        looks = {row["step"]: row["held_out_loss"] for row in read_lines(folder.samples)}
        title = f"Stage {self._settings.stage}: loss of the projection"
        plot_run(folder.loss_curve, read_lines(folder.metrics), sorted(looks.items()), title)

    def _sentence(self, step: int, look: Look) -> str:
        answer = look.answers[0]
        shown = answer if len(answer) <= _SHOWN else f"{answer[:_SHOWN]}..."
        asked, learned = len(look.answers), len(look.learned_answers)
        line = f"step {step:>6,}  held-out loss {look.loss:.3f}"
        if self._settings.stage > 1:  # a caption is one of many that would be right
            line += f", {look.right} of {asked} answers exact"
        if learned:
            line += f" (of pictures learned from, {look.learned_right} of {learned})"
        return f"{line}: {shown!r}"
