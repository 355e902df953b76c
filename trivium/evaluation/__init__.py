"""System and task to scores: tasks and what they measure."""
