"""Methods against one another on one's own text: arms, runs of equal steps and equal time, statistics, a report."""
