"""The statistics are usable alone: NumPy and SciPy, no torch, and no part of the registry of methods."""

import subprocess
import sys

from trivium.core.method import PACKAGE, names

MODULES = sorted(path.stem for path in (PACKAGE / "evaluation" / "stats").glob("*.py") if path.stem != "__init__")


def test_importing_all_of_them_imports_no_torch():
    imports = "; ".join(f"import trivium.evaluation.stats.{module}" for module in MODULES)
    code = f"import sys; {imports}; print({{'torch', 'transformers', 'pandas'}} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "set()"


def test_the_registry_sees_none_of_them():
    assert "stats" not in names("evaluation")
    assert not set(MODULES) & set(names("evaluation"))
