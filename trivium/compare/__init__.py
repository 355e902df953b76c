"""The open arrow: contenders, runs, executors, paired statistics, report."""
