"""The settings tried by a sweep: the best ones, and the table of all."""
import math
from dataclasses import dataclass, field

MAX_PRINTED = 12  # settings printed per optimizer; the page and sweep.json have all


@dataclass
class Point:
    """One setting of one optimizer. losses: {seed: final validation loss, infinite if it diverged}."""

    optimizer: str
    point: dict
    losses: dict = field(default_factory=dict)
    runs: dict = field(default_factory=dict)  # {seed: directory}

    @property
    def mean(self):
        return sum(self.losses.values()) / len(self.losses)

    @property
    def std(self):
        """Sample standard deviation; None with one seed."""
        if len(self.losses) < 2 or not math.isfinite(self.mean):
            return None
        return math.sqrt(sum((loss - self.mean) ** 2 for loss in self.losses.values()) / (len(self.losses) - 1))

    @property
    def diverged(self):
        return sum(math.isinf(loss) for loss in self.losses.values())


def find_best(points, seeds):
    """{optimizer: its setting with the lowest mean}, among those that finished with every seed: fewer seeds would be biased."""
    best = {}
    for point in points:
        if all(seed in point.losses for seed in seeds) and math.isfinite(point.mean):
            if point.optimizer not in best or point.mean < best[point.optimizer].mean:
                best[point.optimizer] = point
    return best


def as_number(text):
    try:
        return float(text)
    except ValueError:
        return None


def edge_notes(points, best, axes):
    """Notes for axes whose best value is the smallest or largest one tried."""
    notes = []
    for name, point in best.items():
        for option, value in point.point.items():
            tried = {as_number(p.point.get(option, "")) for p in points if p.optimizer == name}
            sampled = option in axes[name] and axes[name][option].values is None
            if None in tried or len(tried) < 2 or sampled or as_number(value) not in (min(tried), max(tried)):
                continue
            side, word = ("smallest", "lower") if as_number(value) == min(tried) else ("largest", "higher")
            notes.append(f"{name}: its best {option}, {value}, is the {side} that was tried; the minimum may be {word}")
    return notes


def points_table(points, best):
    """Header and rows; the settings of each optimizer from best to worst."""
    options = list(dict.fromkeys(option for point in points for option in point.point))
    order = list(dict.fromkeys(point.optimizer for point in points))
    rows = []
    for point in sorted(points, key=lambda p: (order.index(p.optimizer), p.mean)):
        loss = f"{point.mean:.4f}" if math.isfinite(point.mean) else f"diverged ({point.diverged} of {len(point.losses)})"
        if point.std is not None:
            loss += f" ± {point.std:.4f}"
        rows.append([point.optimizer, *(point.point.get(option, "-") for option in options), loss, str(len(point.losses)),
                     "best" if best.get(point.optimizer) is point else ""])
    return ["optimizer", *options, "final val loss", "seeds", ""], rows


def print_points(points, best):
    header, rows = points_table(points, best)
    shown, left_out = [], 0
    for row in rows:
        if sum(other[0] == row[0] for other in shown) < MAX_PRINTED or row[-1]:
            shown.append(row)
        else:
            left_out += 1
    widths = [max(len(row[i]) for row in [header, *shown]) for i in range(len(header))]
    for row in [header, ["-" * width for width in widths[:-1]] + [""], *shown]:
        print("  ".join([row[0].ljust(widths[0])] + [cell.rjust(w) for cell, w in zip(row[1:], widths[1:])]).rstrip())
    if left_out:
        print(f"({left_out} worse settings are on the page and in sweep.json)")
