.venv/installed: pyproject.toml
	python3 -m venv .venv
	.venv/bin/pip install -q torch==2.13.0 numpy opencv-python-headless scipy pytest hypothesis pillow pillow-heif safetensors tqdm numba
	touch $@

test: .venv/installed
	.venv/bin/python -m pytest -q
