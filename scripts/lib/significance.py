"""Tests whether a difference of mean losses exceeds the variance between seeds: Welch's t-test, and the rule of the public
step-count benchmark (track 3 of modded-nanogpt)."""
import math

# The benchmark requires (target - mean) sqrt(n) >= 0.004 for n seeds: about three standard deviations of its model's final
# loss between seeds (0.0013).
RULE_MARGIN = 0.004


def rule_statistic(losses, target):
    return (target - sum(losses) / len(losses)) * math.sqrt(len(losses))


def _beta_fraction(x, a, b):
    """The continued fraction of the incomplete beta function (DLMF 8.17.22) by Lentz's method; for x < (a+1)/(a+b+2)."""
    tiny = 1e-300
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > tiny else tiny)
    value = d
    for m in range(1, 1000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 + term * d
            c = 1 + term / c
            d = 1 / (d if abs(d) > tiny else tiny)
            c = c if abs(c) > tiny else tiny
            value *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return value


def incomplete_beta(x, a, b):
    """The regularized incomplete beta function I_x(a, b)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(1 - x, b, a)
    log_factor = (math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    return math.exp(log_factor) * _beta_fraction(x, a, b) / a


def t_two_sided(t, df):
    """The probability that Student's t with df degrees of freedom is at least as far from 0 as t."""
    return incomplete_beta(df / (df + t * t), df / 2, 0.5)


def mean_and_variance(values):
    mean = sum(values) / len(values)
    return mean, sum((v - mean) ** 2 for v in values) / (len(values) - 1)


def welch(a, b):
    """Welch's two-sided t-test of mean(a) = mean(b): {"difference", "t", "df", "p"}. None if it is undefined: fewer than two
    values on a side, a non-finite value, or zero variance."""
    if min(len(a), len(b)) < 2 or not all(math.isfinite(v) for v in [*a, *b]):
        return None
    (mean_a, var_a), (mean_b, var_b) = mean_and_variance(a), mean_and_variance(b)
    part_a, part_b = var_a / len(a), var_b / len(b)
    error = part_a + part_b
    if error == 0:
        return None
    t = (mean_a - mean_b) / math.sqrt(error)
    df = error**2 / (part_a**2 / (len(a) - 1) + part_b**2 / (len(b) - 1))
    return {"difference": mean_a - mean_b, "t": t, "df": df, "p": t_two_sided(t, df)}
