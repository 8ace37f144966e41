"""Starts backgroundremover's own server with PyTorch's CPU build.

python backgroundremover_server.py --addr 127.0.0.1 --port PORT

The package index has torchvision for CUDA only; without CUDA its operators are missing, and it cannot be
imported. The server uses none of them, only the module `transforms`, so here they are declared without an
implementation.
"""

import re
from importlib.util import find_spec
from pathlib import Path

import torch


def declare_operators() -> torch.library.Library:
    """Declare the operators that torchvision registers something for; they exist as long as the result."""
    (folder,) = find_spec("torchvision").submodule_search_locations
    text = (Path(folder) / "_meta_registrations.py").read_text()
    library = torch.library.Library("torchvision", "DEF")
    for name in re.findall(r'(?:register_meta\(|register_fake\(")(?:"|torchvision::)(\w+)"', text):
        library.define(f"{name}(Tensor x) -> Tensor")
    return library


if __name__ == "__main__":
    operators = declare_operators()
    from backgroundremover.cmd.server import main

    main()
