"""The wheel builds, and what it installs works without the repository."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def run(*words, **options):
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True, **options).stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", out, ROOT)
    (made,) = out.glob("trivium-*.whl")
    return made


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} <= {"trivium", *(n.split("/")[0] for n in names if ".dist-info" in n)}
    assert any(name.endswith("models/tiny/model.safetensors") for name in names)
    assert any(name.startswith("trivium/compare/_report/") for name in names)
    assert "trivium/py.typed" in names
    assert wheel.stat().st_size < 5_000_000


def test_the_installed_package_works_alone(wheel, tmp_path):
    venv.create(tmp_path / "env", with_pip=False, system_site_packages=False)
    python = tmp_path / "env" / "bin" / "python"
    site = run(python, "-c", "import site; print(site.getsitepackages()[0])").strip()
    ours = run(sys.executable, "-c", "import site; print(site.getsitepackages()[0])").strip()
    zipfile.ZipFile(wheel).extractall(site)
    # Dependencies come from the environment of the tests, without the editable install of the repository.
    code = f"import sys; sys.path.append({ours!r}); sys.argv[0] = 'trivium'; from trivium.cli import main; main()"
    options = {"cwd": tmp_path}
    assert "min_p" in run(python, "-I", "-c", code, "list", **options)
    assert "Equation" in run(python, "-I", "-c", code, "show", "min_p", **options)
    text = run(python, "-I", "-c", code, "generate", "Once upon a time", "--model", "tiny", "--limit", "20", **options)
    assert text.strip()
