"""Normalise notebooks: no outputs, no traces of running or viewing them."""

import nbformat

_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def normalised(text: str) -> str:
    """Return a notebook without outputs and counts, with numbered cells, and nothing of the machine it was run on."""
    notebook = nbformat.reads(text, as_version=4)
    notebook.metadata = nbformat.from_dict({"kernelspec": _KERNEL, "language_info": {"name": "python"}})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.cells = [cell for cell in notebook.cells if cell.source.strip()]
    for number, cell in enumerate(notebook.cells, 1):
        cell.id, cell.metadata, cell.source = f"cell-{number:02}", nbformat.from_dict({}), cell.source.strip()
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.validate(notebook)
    return str(nbformat.writes(notebook)) + "\n"
