"""``python -m trivium.cli``, for where the script is not on the path."""

from trivium.cli import main

main()
