"""Speed against peers: ``python -m benchmarks``. A package, since other installed packages use its name too."""
