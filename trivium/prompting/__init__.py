"""Task and system to task: how its questions are put to the model."""
