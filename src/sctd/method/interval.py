"""Which steps make the two passes agree (Zhong et al., 2023: every Fi-th)."""


def is_consistency_step(step: int, interval: int | None) -> bool:
    """True where step t = 1, 2, ... is a multiple of Fi; never for an interval of null."""
    return interval is not None and step % interval == 0
