"""The dataset: its name, whose it is, under which terms, and how to cite it.

Terms and citation were read on the pages of the Allen Institute, and in the metadata that DANDI
has of the same recordings (dandiset 000711, version 0.231121.0201).
"""

from __future__ import annotations

NAME = "visual-behavior-2p"
TITLE = "Visual Behavior 2P"
CREATOR = "Allen Institute for Brain Science"
HOMEPAGE = "https://portal.brain-map.org/circuits-behavior/visual-behavior-2p"
BUCKET = "s3://visual-behavior-ophys-data"
DESCRIPTION = (
    "In vivo two-photon calcium imaging in the visual cortex of mice that perform a visual change "
    "detection task, with behaviour and the history of training."
)

TERMS = "https://alleninstitute.org/legal/terms-use/"
CITATION_POLICY = "https://alleninstitute.org/legal/citation-policy/"

DANDISET = "https://dandiarchive.org/dandiset/000711"
DANDI_LICENSE = "CC-BY-4.0"
"""The licence of the same recordings on DANDI, as an SPDX identifier."""

YEAR = 2023
DOI = "10.48324/dandi.000711/0.231121.0201"
AUTHORS = (("Olsen", "Shawn"), ("Garrett", "Marina"), ("Groblewski", "Peter"))
"""Family and given names of those whom DANDI cites beside the institute."""
CITATION = (
    f"{CREATOR}; {'; '.join(f'{family}, {given}' for family, given in AUTHORS)} ({YEAR}) "
    "Allen Institute - Visual Behavior - Optical Physiology (Version 0.231121.0201) [Data set]. "
    f"DANDI archive. https://doi.org/{DOI}"
)
